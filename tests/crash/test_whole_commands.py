"""The whole commands, with the real Ray, go on from states that a power cut can leave."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fervit
from fervit.cluster.nodes import Cluster
from fervit.runs.folder import RunFolder
from fervit.runs.run import prepare
from fervit.runs.worker import WorkerJob, run_on_worker
from fervit.search.pipeline import run_sweep
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.splits import open_splits
from tests.conftest import write_splits
from tests.crash import encodings, runs
from tests.crash.explore import scratch
from tests.crash.recorder import Recording, recorded
from tests.crash.states import State, states
from tests.crash.whole_commands import RecordedTrial, Timed
from tests.helpers.sweeps import leaderboard, space

pytestmark = pytest.mark.long
SAMPLES = [pytest.param(3, id="3"), pytest.param(25, id="25", marks=pytest.mark.chaos)]


def sampled(recording: Recording, n: int) -> list[State]:
    """Draws states from all that a power cut can leave while the command runs."""
    seen = list(states(recording))
    return random.Random(0).sample(seen, min(n, len(seen)))


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory."""
    folder = scratch()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("n", SAMPLES)
def test_an_encoding_goes_on(n: int, place: Path, tmp_path: Path, cluster: Cluster) -> None:
    encodings.write_sources(tmp_path)
    with recorded(place) as recording:
        encodings.command(tmp_path, place, recording.promise, float16=False)
    whole = encodings.result_of(place)
    for state in sampled(recording, n):
        state.put(place)
        assert not encodings.broken_promises(place, recording.promised(state.steps)), state.how
        fervit.encode(None, place / "latents", from_pt=tmp_path, allow_missing_classes=True, say=None)
        assert encodings.result_of(place) == whole, state.how


@pytest.mark.parametrize("n", SAMPLES)
def test_a_training_goes_on(n: int, place: Path, tmp_path: Path, cluster: Cluster) -> None:
    latents = write_splits(tmp_path)
    run = prepare(runs.CONFIG.to_json(), "guide", str(latents / "train"), str(latents / "val"), use_gpu=False)
    folder = RunFolder(place / "run")
    with recorded(place) as recording:
        folder.path.mkdir()
        run.write(folder, cluster)
        job = WorkerJob(config=run.config, folder=folder, threads=1, device="cpu")
        run_on_worker(job, run.train, run.val, entered=0.0, imported=0.0)
    whole = runs.result_of(place)
    begun = [state for state in sampled(runs.with_saved(recording), 4 * n) if "run/config.json" in state.tree]
    for state in begun[:n]:  # without a configuration it is begun anew
        state.put(place)
        fervit.train(resume=folder.path, say=None)
        assert runs.result_of(place) == whole, state.how


@pytest.mark.parametrize("n", SAMPLES)
def test_a_sweep_goes_on(n: int, place: Path, tmp_path: Path, cluster: Cluster) -> None:
    latents = write_splits(tmp_path / "latents")
    given = space(
        search={"trials": 3, "sampler": "random"},
        early_stopping={"scheduler": "none", "max_epochs": 3, "grace_epochs": None, "reduction_factor": None},
        confirm={"top": 0},
    )
    root = place / "experiments"
    root.mkdir()
    files = SweepFolder(root / "small")

    def command(**more: Any) -> tuple[list[dict[str, str]], str]:
        files.path.mkdir(exist_ok=True)
        lines: list[str] = []
        splits = open_splits(str(latents), given)
        result = run_sweep(given, splits, given.trial, files.path, cluster, lines.append, **more)
        kept = ("trial", "seed", "state", "epochs", "best_epoch", "f1_macro", "val_loss", "chosen", "lr", "heads")
        rows = [{name: row[name] for name in kept if name in row} for row in leaderboard(files.path)]
        seal = json.loads(files.sealed_test.read_text())["looks"]
        assert len(seal) == 1
        assert seal[0]["f1_macro"] == result.verdict.evaluation.metrics["f1_macro"]
        return rows, f"{result.chosen.name} {seal[0]['f1_macro']}"

    timed = Timed(root)
    with recorded(root, timed):
        whole = command(trainable=RecordedTrial)
    recording = timed.with_trials()
    assert any(step.path.endswith("last.pt") or step.target.endswith("last.pt") for step in recording.steps)
    shutil.rmtree(latents / "test" / "_looks")
    for state in sampled(recording, n):
        state.put(root)
        assert command() == whole, state.how
        shutil.rmtree(latents / "test" / "_looks")
