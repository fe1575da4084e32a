"""Optuna's own journal file after a power cut at every step. fervit's study does not use it as it is.

What it does wrong is counted by kind, to be reported to its project; a kind that is not known here fails the test.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from tests.crash.explore import explore, scratch
from tests.crash.recorder import Recording, Step

TRIALS, EPOCHS = 3, 2
NAME = "study.journal"
LOST = "a trial that had been told is lost: the name of the file is never synced"
UNREADABLE = "the study can be read no more: it appended to a line that was torn, or a write became zeros"
CONFUSED = "lines follow that do not fit, since what was torn hides them or they hide what was torn"


def optimise(
    path: Path,
    backend: type[JournalFileBackend] = JournalFileBackend,
    told: Callable[[int], None] = lambda number: None,
) -> list[Any]:
    """Goes on with a study until it has all its trials, and returns their values."""
    path.with_name(f"{NAME}.lock").unlink(missing_ok=True)  # of a process that the power cut has ended
    study = optuna.create_study(
        study_name="s", storage=JournalStorage(backend(str(path), JournalFileOpenLock(str(path)))), load_if_exists=True
    )
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    while len(ended := study.get_trials(states=(TrialState.COMPLETE,))) < TRIALS:
        trial = study.ask({"x": FloatDistribution(0, 1)})
        for epoch in range(EPOCHS):
            trial.report(epoch / 10, epoch)
        study.tell(trial.number, len(ended))
        told(len(ended))
    return [trial.value for trial in ended]


def record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """Records what Optuna's own backend writes, and whether it syncs it."""
    recording, path, synced = Recording(folder), folder / NAME, [False]
    sync = os.fsync

    def fsync(file: int) -> None:
        synced[0] = True
        sync(file)

    class Watched(JournalFileBackend):
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            before, synced[0] = path.stat().st_size, False
            super().append_logs(logs)
            recording.steps.append(Step(kind="append", path=NAME, data=path.read_bytes()[before:]))
            if synced[0]:
                recording.steps.append(Step(kind="sync", path=NAME))

    monkeypatch.setattr(os, "fsync", fsync)
    recording.steps.append(Step(kind="create", path=NAME))
    optimise(path, Watched, recording.promise)
    return recording


def wrong_with(recording: Recording) -> tuple[int, Counter[str]]:
    """Goes on from each state, and reads what that has left once more, as a third process would."""
    undisturbed = [float(number) for number in range(TRIALS)]

    def told(folder: Path, promised: Any) -> str:
        if len(promised) and not (folder / NAME).is_file():
            return LOST
        return ""

    def recover(folder: Path) -> str:
        try:
            values = optimise(folder / NAME)
            again = optimise(folder / NAME)
        except ValueError:  # of JSON, of UTF-8, and "Invalid log format."
            return UNREADABLE
        except AssertionError:
            return CONFUSED
        return "" if values == again == undisturbed else f"ended with {values}, then {again}"

    found = explore(recording, told, recover, tears=0)
    kinds = (LOST, UNREADABLE, CONFUSED)
    return found.states, Counter(next((k for k in kinds if text.endswith(k)), text) for text in found.wrong)


def test_what_optunas_own_journal_does_wrong_after_a_power_cut_is_known(
    monkeypatch: pytest.MonkeyPatch, measured: Callable[[str], None]
) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    states, wrong = wrong_with(record(scratch(), monkeypatch))
    measured(f"Optuna's own journal: {wrong.total()} of {states} states end wrongly: {dict(wrong)}")
    assert states > 500
    assert set(wrong) <= {LOST, UNREADABLE, CONFUSED}
