"""A run of `train.py` in this process: its own session, recorder and folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fervit.checkpoints.checkpoint import load_checkpoint
from fervit.io.disk import make_folder, remove
from fervit.io.files import write_json
from fervit.io.json_lines import read_rows
from fervit.runs.folder import RunFolder, RunRecord
from fervit.runs.recorder import read_history
from fervit.runs.state import load_state
from fervit.runs.worker import WorkerJob, run_on_worker
from fervit.training.config import TrainConfig
from tests.conftest import ENCODER, latent_set
from tests.crash.recorder import Recording, Step

CONFIG = TrainConfig(
    seq_len=4, latent_dim=16, embed_dim=4, depth=1, heads=2, mlp_dim=4, batch_size=32, lr=3e-3, epochs=4
)
TRAIN, VAL = latent_set(6), latent_set(3, seed=1)
Result = tuple[list[Any], int, list[float]]
"""The history without clocks, the epoch of the best model, and its weights, each summed up."""


def command(root: Path, promise: Callable[[Any], None] = lambda what: None) -> None:
    """Begins a run in a folder, or goes on with the one that is there, as `train.py --resume` does."""
    folder = RunFolder(root / "run")
    make_folder(folder.path)
    if folder.config.exists():
        record = RunRecord.read(folder)
    else:
        record = RunRecord(training=CONFIG, train="train", val="val", data={}, encoder=ENCODER.to_json())
    record.write(folder)
    write_json(folder.environment, {})
    if folder.finished:
        return
    for path in (folder.events, folder.stop):
        remove(path)
    job = WorkerJob(config=record.training, folder=folder, threads=1, device="cpu")
    run_on_worker(job, TRAIN, VAL, entered=0.0, imported=0.0)
    for event in read_rows(folder.events):
        assert event["event"] not in ("failed", "diverged"), event
    promise(("finished", ""))


def with_saved(recording: Recording) -> Recording:
    """Adds the promises of a run that its events make, from which the command prints: epochs that are saved."""
    steps = []
    for step in recording.steps:
        steps.append(step)
        if step.kind == "append" and step.path.endswith(".events.jsonl"):
            event = json.loads(step.data)
            if event.get("saved"):
                steps.append(Step(kind="promise", promise=("saved", event["result"]["epoch"])))
    return Recording(recording.folder, steps)


def result_of(root: Path) -> Result:
    """Reads what a run has left."""
    folder = RunFolder(root / "run")
    rows = [replace(row, seconds=0.0, samples_per_second=0.0).to_json() for row in read_history(folder)]
    best = load_checkpoint(folder.best)
    summary = json.loads(folder.summary.read_text())
    assert summary["state"] == "finished"
    assert summary["epochs"] == len(rows)
    assert summary["best"]["epoch"] == best.epoch
    return rows, best.epoch, [float(value.double().sum()) for value in best.model_state_dict.values()]


def broken_promises(root: Path, promised: Sequence[Any]) -> str:
    """Returns which promise of a run its folder no longer keeps; "" if it keeps all."""
    folder = RunFolder(root / "run")
    for what, value in promised:
        if what == "saved" and (not folder.last.is_file() or load_state(folder.last)["trainer"]["epoch"] < value):
            return f"epoch {value} was said to be saved, and is not there"
        if what == "saved" and [row.epoch for row in read_history(folder)][:value] != list(range(1, value + 1)):
            return f"epoch {value} was said to be saved, and the history before it is not there"
        if what == "finished" and not folder.finished:
            return "was said to be finished, and is not"
    return ""
