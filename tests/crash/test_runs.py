"""A run of `train.py` after a power cut at every step: its configuration, history, states, best model and summary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash import runs
from tests.crash.explore import Found, explore, scratch
from tests.crash.recorder import Recording, recorded

PIECES = 4
"""Into how many tests all states are divided."""


def recorded_run(monkeypatch: pytest.MonkeyPatch) -> tuple[Recording, runs.Result]:
    monkeypatch.setattr("fervit.runs.recorder.open_writer", lambda *_: None)  # TensorBoard, beside the history
    place = scratch()
    with recorded(place) as recording:
        runs.command(place, recording.promise)
    return runs.with_saved(recording), runs.result_of(place)


def explored(recording: Recording, result: runs.Result, **how: Any) -> Found:
    def recover(folder: Path) -> str:
        runs.command(folder)
        return "" if runs.result_of(folder) == result else "ends otherwise than the undisturbed run"

    return explore(recording, runs.broken_promises, recover, **how)


def test_a_run_ends_as_if_there_had_been_no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    found = explored(*recorded_run(monkeypatch), every=181)
    assert found.states > 3
    assert not found.wrong


def test_the_history_is_on_the_disk_before_a_state_that_goes_on_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    recording, result = recorded_run(monkeypatch)
    before = [step for step in recording.steps if (step.kind, step.path) != ("sync", "run/history.jsonl")]
    assert explored(Recording(recording.folder, before), result, every=61).wrong


@pytest.mark.chaos
@pytest.mark.parametrize("piece", range(PIECES))
def test_every_state_of_a_run(piece: int, monkeypatch: pytest.MonkeyPatch, measured: Callable[[str], None]) -> None:
    found = explored(*recorded_run(monkeypatch), sample=24, pieces=PIECES, piece=piece)
    measured(f"run, {piece}: {found.states} states")
    assert not found.wrong
