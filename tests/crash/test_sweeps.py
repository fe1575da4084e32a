"""A sweep after a power cut at every step: its journal and study, models, leaderboard, choice and export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fervit.io.json_lines import drop_torn_line
from fervit.search.records import journal
from fervit.search.records.sweep_folder import SweepFolder
from tests.crash import sweeps
from tests.crash.explore import Found, explore, scratch
from tests.crash.recorder import Recording, recorded
from tests.crash.states import states

CASES = {
    "one slot, a random sampler": {"of": sweeps.space(), "slots": 1},
    "one slot, TPE and ASHA": {"of": sweeps.space("tpe", "asha"), "slots": 1},
    "two slots": {"of": sweeps.space(), "slots": 2},
    "confirmed and exported": {"of": sweeps.space(trials=3, confirm=1), "slots": 1, "whole": True},
}
PIECES = 12
"""Into how many tests all states of a case are divided."""
TWICE = 3
"""How many recoveries are cut off a second time."""
BOUNDED = {
    "one slot, a random sampler": 47,
    "one slot, TPE and ASHA": 121,
    "two slots": 121,
    "confirmed and exported": 251,
}
"""The cases of `make test`, each with the share of its states: one in so many."""


def undisturbed(folder: Path, **options: Any) -> tuple[Recording, sweeps.Outcome]:
    with recorded(folder) as recording:
        outcome = sweeps.command(folder, promise=recording.promise, **options)
    return recording, outcome


def explored(monkeypatch: pytest.MonkeyPatch, share: float, options: dict[str, Any], **how: Any) -> Found:
    """Records a sweep, and lets the same command go on from each state."""
    monkeypatch.setattr(journal, "SYNC_SHARE", share)
    place = scratch()
    recording, outcome = undisturbed(place, **options)

    def kept(folder: Path, promised: Sequence[Any]) -> str:
        return sweeps.broken_promises(folder, [one for one in promised if one[0] != "epoch" or share])

    def recover(folder: Path) -> str:
        found = sweeps.command(folder, **options)
        if found.chosen != outcome.chosen:
            return "another model was chosen"
        if found.rows != outcome.rows and (share or not any("lost" in line for line in found.remarks)):
            return f"ends with another leaderboard, and says {found.remarks}"
        return ""

    return explore(recording, kept, recover, **how)


@pytest.mark.parametrize("case", BOUNDED)
def test_a_sweep_ends_as_if_there_had_been_no_power_cut(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = explored(monkeypatch, float("inf"), CASES[case], every=BOUNDED[case])
    assert found.states > 5
    assert not found.wrong


def test_epochs_that_were_reported_faster_than_the_disk_syncs_are_said_to_be_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = explored(monkeypatch, 0.0, CASES["one slot, a random sampler"], every=83)
    assert found.states > 5
    assert not found.wrong


def test_a_second_power_cut_during_the_recovery_of_the_first_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SYNC_SHARE", float("inf"))
    options: dict[str, Any] = {"of": sweeps.space(), "slots": 1}
    recording, outcome = undisturbed(scratch(), **options)
    torn = [state for state in states(recording) if "trials.jsonl: torn" in state.how]
    for state in torn[:: len(torn) // TWICE]:
        place = scratch()
        state.put(place)
        with recorded(place, Recording.of_state(place, state.tree)) as second:
            sweeps.command(place, promise=second.promise, **options)

        def recover(folder: Path) -> str:
            return "" if sweeps.command(folder, **options).rows == outcome.rows else "ends otherwise"

        found = explore(second, sweeps.broken_promises, recover, every=89, pieces=2, piece=1)
        assert found.states
        assert not found.wrong, state.how


def test_a_journal_that_was_not_synced_would_break_what_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SYNC_SHARE", float("inf"))
    recording, _ = undisturbed(scratch(), of=sweeps.space(), slots=1)
    before = [step for step in recording.steps if step.kind != "sync" or not step.path.endswith("trials.jsonl")]
    found = explore(Recording(recording.folder, before), sweeps.broken_promises, lambda folder: "", every=53)
    assert any("promised ('ended'" in line for line in found.wrong)


def open_journals(root: Path) -> None:
    """Does what every command does first with the two journals of a sweep: it removes a line that was cut off."""
    for folder in (SweepFolder(path) for path in root.glob("s_*")):
        drop_torn_line(folder.journal)
        drop_torn_line(folder.study)


@pytest.mark.chaos
@pytest.mark.parametrize("piece", range(PIECES))
@pytest.mark.parametrize("share", [float("inf"), 0.0], ids=["each event is synced", "epochs are not synced"])
@pytest.mark.parametrize("case", CASES)
def test_every_state_of_a_sweep(
    case: str, share: float, piece: int, monkeypatch: pytest.MonkeyPatch, measured: Callable[[str], None]
) -> None:
    how: dict[str, Any] = {"tears": 0, "sample": 24, "pieces": PIECES, "piece": piece, "first": open_journals}
    found = explored(monkeypatch, share, CASES[case], **how)
    measured(f"{case}, {share}, {piece}: {found.states} states, {found.recoveries} recoveries")
    assert not found.wrong
