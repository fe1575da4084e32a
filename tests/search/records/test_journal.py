from __future__ import annotations

import json
from pathlib import Path

from fervit.search.records.events import (
    EpochEnded,
    Event,
    SessionBegan,
    SweepDone,
    TrialEnded,
    TrialPlaced,
    TrialStarted,
)
from fervit.search.records.journal import JournalFile, JournalReader, read_journal
from fervit.search.records.spent import Spent
from tests.helpers.epochs import epoch_result


def test_a_line_that_was_cut_off_is_removed_and_a_damaged_one_named(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = JournalFile(path)
    journal.append(SessionBegan)
    journal.append(TrialEnded, name="a", state="stopped")
    with path.open("ab") as file:
        file.write(b'{"event": "epo')
    assert [type(event) for event in read_journal(path)] == [SessionBegan, TrialEnded]
    JournalFile(path).append(SessionBegan)
    assert [type(event) for event in read_journal(path)] == [SessionBegan, TrialEnded, SessionBegan]
    path.write_bytes(b"{\n" + path.read_bytes())
    reader = JournalReader(path)
    assert [type(event) for event in reader] == [SessionBegan, TrialEnded, SessionBegan]
    assert reader.remarks == [
        f"{path}: line 1 is damaged or of another version, and left out: what stood there is lost"
    ]


def test_a_journal_of_a_later_version_is_read_as_far_as_this_one_knows_it(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    session = {"event": "session", "time": 1.0, "format": 99, "version": "9.0", "mood": "fine"}
    lines = [session, {"event": "dreamt", "time": 2.0}, {"event": "done", "time": 3.0, "by": "x"}, {"event": "end"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    reader = JournalReader(path)
    assert [type(event) for event in reader] == [SessionBegan, SweepDone]
    assert "line 4 is damaged or of another version" in reader.remarks[0]
    assert "was written by fervit 9.0; what this version does not know is passed over" in reader.remarks[1]


def test_a_second_writer_is_noticed_and_its_lines_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    first = JournalFile(path)
    first.append(SessionBegan)
    second = JournalFile(path)
    second.append(SessionBegan)
    assert second.broken is None
    first.append(TrialEnded, name="a", state="stopped")
    assert first.broken is not None
    assert "another command writes to this sweep" in str(first.broken)
    second.append(TrialEnded, name="b", state="stopped")
    sessions = [event.session for event in read_journal(path) if isinstance(event, SessionBegan)]
    assert len(set(sessions)) == 2
    assert [event.name for event in read_journal(path) if isinstance(event, TrialEnded)] == ["b"]


def test_the_time_between_two_sessions_does_not_count() -> None:
    kinds = [(SessionBegan, 100), (SweepDone, 110), (SessionBegan, 1000), (SweepDone, 1030)]
    spent = Spent()
    for kind, time in kinds:
        spent.apply(kind(time=time))
    assert spent.elapsed == 40


def test_a_clock_that_is_set_does_not_change_what_was_spent() -> None:
    """The clock of an old journal leaps by a year, and back by an hour; in a new journal it does not count."""
    start = TrialStarted(time=0, name="a", number=0, seed=1, params={})
    row = epoch_result(1, seconds=60)
    old: list[Event] = [SessionBegan(time=0), start, EpochEnded(time=60, name="a", row=row, best_value=0.5)]
    old += [EpochEnded(time=time, name="a", row=row, best_value=0.5) for time in (3.15e7, 3.15e7 - 3600, 3.15e7 - 3540)]
    spent = Spent(gpus=2)
    for event in old:
        spent.apply(event)
    assert spent.of_part["search"] == 60 + 3600 + 0 + 60  # a leap counts as an hour at most, and never backwards
    assert spent.gpu_of_part["search"] == 2 * 4 * 60
    new: list[Event] = [SessionBegan(time=9e9, at=0, format=2), TrialPlaced(time=5, at=10, name="a", gpus=2)]
    new += [EpochEnded(time=1e12, at=70, name="a", row=row, best_value=0.5)]
    new += [TrialEnded(time=0, at=80, name="a", state="finished"), SweepDone(time=0, at=500)]
    for event in new:
        spent.apply(event)
    assert spent.of_part["search"] == 3720 + 70  # not the start before its place, nor what came after it
    assert spent.gpu_of_part["search"] == 480 + 2 * 70
    assert spent.elapsed == 3720 + 500
