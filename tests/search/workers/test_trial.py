"""Trials that fail in every possible way do not stop the sweep."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from fervit.cluster.nodes import Cluster
from fervit.search.console.after import summarise
from fervit.search.pipeline import run_sweep
from fervit.search.records.ranking import failures_by_kind
from fervit.search.records.report import TrialReport
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.splits import open_splits
from fervit.search.workers.task import TrialTask
from fervit.search.workers.trial import LatentTrial
from fervit.search.workers.worker_group import SharedLatents
from fervit.training.failure import FailedError, Failure
from tests.helpers.sweeps import leaderboard, space, study

KINDS = ("ValueError", "diverged", "out of memory", "process died", "metric missing")
N_TRIALS = 12


def kind_of(name: str) -> str:
    """Returns how the trial of this name fails. About one name in three gives "", so that the trial does not fail."""
    chance = random.Random(name)
    return chance.choice(KINDS) if chance.random() < 2 / 3 else ""


class Unreliable(LatentTrial):
    """A real trial that may fail in one of the ways of `KINDS` after its first epoch."""

    def step(self) -> dict[str, Any]:
        if self._task is not None or kind_of(self.config["name"]) != "metric missing":
            return super().step()
        return {"loss": 1.0}

    def _is_due(self, *args: Any) -> bool:
        return kind_of(self.config["name"]) == "metric missing" or super()._is_due(*args)

    def _epoch(self, **options: Any) -> TrialReport:
        if self._trainer.epoch == 0:
            return super()._epoch(**options)
        kind = kind_of(self.config["name"])
        if kind == "ValueError":
            raise ValueError("something that nobody thought of")
        if kind == "out of memory":
            raise MemoryError("the allocator has no more")
        if kind == "process died":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "diverged":
            for weight in self._trainer.model.parameters():
                weight.data.fill_(float("nan"))
        return super()._epoch(**options)


cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not import the tests


@pytest.mark.long
def test_when_two_trials_in_three_fail_the_sweep_ends_and_says_of_what(
    latents_folder: Path, tmp_path: Path, cluster: Cluster
) -> None:
    given = space(
        search={"trials": N_TRIALS, "sampler": "random"},
        early_stopping={"scheduler": "none", "max_epochs": 3},
        trial={"max_failures": 0},
    )
    folder = tmp_path / "sweep"
    folder.mkdir()
    lines: list[str] = []
    splits = open_splits(str(latents_folder), given)
    result = run_sweep(given, splits, given.trial, folder, cluster, lines.append, trainable=Unreliable)

    expected = Counter(filter(None, (kind_of(f"trial_{i:04d}") for i in range(N_TRIALS))))
    assert set(expected) == set(KINDS)
    assert failures_by_kind(result.records) == expected
    assert expected.total() > N_TRIALS / 2
    summary = summarise(result, "")
    for kind, n in expected.items():
        assert f"  {n} failed: {kind}" in summary
    states = Counter(trial.state.name for trial in study(folder).trials)
    infeasible = [trial for trial in study(folder).trials if trial.constraints]
    by_configuration = sum(expected[kind] for kind in ("out of memory", "diverged", "ValueError"))
    assert states["FAIL"] == expected.total() - by_configuration
    assert len(infeasible) == by_configuration
    rows = leaderboard(folder)
    assert len(rows) == N_TRIALS
    assert all(row["epochs"] == "3" for row in rows if not row["failure"])
    short = [row["failure"] for row in rows if row["failure"].startswith("out of memory: on this machine")]
    assert len(short) == expected["out of memory"]
    assert all("with batch_size 32: the allocator has no more; try a smaller batch_size" in text for text in short)
    log = (folder / "failures.log").read_text()
    assert log.count("ValueError: something that nobody thought of") == expected["ValueError"]
    assert "in _epoch" in log


class FaultyDevice(LatentTrial):
    """A real trial whose GPU fails for good in the second epoch of the first processes that get there."""

    def _epoch(self, **options: Any) -> TrialReport:
        faults = Path(self.config["folder"]).parent / "faults"
        left, whose = faults.read_text().split()
        if self._trainer.epoch == 1 and int(left):
            faults.write_text(f"{int(left) - 1} {whose}")
            if whose == "untold":
                os.abort()  # as torch does where it frees what the GPU has lost: seen under MPS on an H200
            fault = RuntimeError("CUDA error: an illegal memory access was encountered")
            raise fault if whose == "own" else FailedError(Failure.of(fault))
        return super()._epoch(**options)


def test_a_process_that_is_set_up_in_vain_does_not_touch_the_files_of_the_trial(
    latents_folder: Path, tmp_path: Path, cluster: Cluster
) -> None:
    """Ray Tune may start a process for a trial that another process takes, and the first one may be late."""
    given = space()
    splits = open_splits(str(latents_folder), given)
    folder = SweepFolder(tmp_path / "sweep").trial("trial_0000")
    folder.path.mkdir(parents=True)
    folder.sweep.journal.touch()
    config = given.config({**given.example(), "lr": 1e-3}, 1)
    task = TrialTask(name="trial_0000", folder=folder, train=config, workers=1, resources={"CPU": 1, "GPU": 0})
    ready = {
        "latents": SharedLatents.put(splits.train, splits.val),
        "metric": given.metric,
        "device": "cpu",
        "threads": 1,
    }

    def process() -> LatentTrial:
        trial = LatentTrial.__new__(LatentTrial)
        trial.setup(task.to_tune(), **ready)
        return trial

    first = process()
    while not TrialReport.from_tune(first.step()).finished:
        pass
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    assert set(before) == {"best_model.pt", "last.pt", "owner"}
    late = process()
    late.cleanup()
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("trial", "faults", "whose"),
    [
        ({}, 1, "own"),
        ({}, 1, "another-worker's"),  # which that worker has told this one
        # Under MPS a fault may be a neighbour's, so that even two in a row are no failure of the trial.
        ({"mps": True, "max_failures": 0}, 2, "own"),
        ({"mps": True, "max_failures": 0}, 2, "untold"),
    ],
)
def test_a_fault_that_stays_in_the_gpu_costs_its_process_and_no_trial(
    latents_folder: Path, tmp_path: Path, cluster: Cluster, trial: dict[str, Any], faults: int, whose: str
) -> None:
    given = space(
        search={"trials": 3, "sampler": "random", "max_concurrent_trials": 1},
        early_stopping={"scheduler": "none", "max_epochs": 3},
        trial=trial,
    )
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "faults").write_text(f"{faults} {whose}")
    lines: list[str] = []
    splits = open_splits(str(latents_folder), given)
    result = run_sweep(given, splits, given.trial, folder, cluster, lines.append, trainable=FaultyDevice)
    assert [record.state for record in result.records] == ["finished"] * 3
    again = [line for line in lines if "in another process" in line]
    assert len(again) == faults
    said = ("process died: ",) if whose == "untold" else ("process died: its GPU failed (", "an illegal memory access")
    assert all(part in line for line in again for part in said)
