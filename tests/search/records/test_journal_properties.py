"""A journal of which lines are damaged, lost, or of another version opens, and the sweep goes on to its end."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fervit.search.records.history import History
from fervit.search.records.journal import JournalReader
from tests.helpers.ledger import Sweep, report

FIELDS_WITH_DEFAULTS = {
    *("at", "format", "version", "session", "job", "finished", "saved", "started", "pid", "cost", "node", "stops"),
    *("gpus", "why", "cut", "purpose", "warmup_epochs", "failure"),
}
"""The fields that a journal of an earlier version may lack."""
few = settings(max_examples=40, derandomize=True, deadline=None, database=None)


def play(sweep: Sweep) -> None:
    """Runs a sweep of five trials to its end."""
    while (planned := sweep.ledger.begin()) is not None:
        sweep.ledger.placed(planned.name, 0.5)
        for epoch in range(1, 10):
            if sweep.ledger.report(planned.name, report(epoch, 0.1 * planned.number + epoch / 100)):
                break
        sweep.ledger.end(planned.name)


def opened(folder: Path) -> Sweep:
    return Sweep(folder, search={"sampler": "random", "trials": 5, "seed": 3})


def journal() -> list[bytes]:
    with tempfile.TemporaryDirectory() as name:
        play(opened(Path(name)))
        return (Path(name) / "trials.jsonl").read_bytes().splitlines(keepends=True)


LINES = journal()


def goes_on(lines: list[bytes]) -> History:
    """Opens a sweep with these lines, runs it to its end, and returns what its journal then tells."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "trials.jsonl"
        path.write_bytes(b"".join(lines))
        sweep = opened(Path(name))
        play(sweep)
        assert sweep.ledger.complete
        sweep.ledger.close()
        return History(JournalReader(path))


def check(history: History) -> None:
    assert sorted(record.number for record in history.records.values()) == sorted(
        {record.number for record in history.records.values()}
    )
    assert len(history.records) == 5
    assert all(record.state in ("finished", "stopped") for record in history.records.values())
    assert all(sorted({e.epoch for e in r.epochs}) == [e.epoch for e in r.epochs] for r in history.records.values())


@few
@given(st.integers(0, sum(map(len, LINES))))
def test_a_journal_that_was_cut_off_anywhere_goes_on(length: int) -> None:
    history = goes_on([b"".join(LINES)[:length]])
    check(history)
    assert [record.number for record in history.records.values()] == list(range(5))


@few
@given(st.sets(st.integers(0, len(LINES) - 1), max_size=4), st.binary(max_size=20))
def test_lines_that_are_damaged_are_left_out(damaged: set[int], junk: bytes) -> None:
    check(goes_on([junk.replace(b"\n", b" ") + b"\n" if i in damaged else line for i, line in enumerate(LINES)]))


@few
@given(st.sets(st.sampled_from(sorted(FIELDS_WITH_DEFAULTS))), st.dictionaries(st.text(max_size=6), st.integers()))
def test_an_earlier_version_lacks_fields_and_a_later_one_has_more(lacking: set[str], more: dict[str, Any]) -> None:
    rows = [json.loads(line) for line in LINES]
    changed = [{**{f"x_{key}": value for key, value in more.items()}, **row} for row in rows]
    changed = [{key: value for key, value in row.items() if key not in lacking} for row in changed]
    changed.insert(3, {"event": "of a later version", "time": 1.0, "name": "trial_0000"})
    history = goes_on([json.dumps(row).encode() + b"\n" for row in changed])
    check(history)
    whole = goes_on(LINES)
    assert {name: len(r.epochs) for name, r in history.records.items()} == {
        name: len(r.epochs) for name, r in whole.records.items()
    }
