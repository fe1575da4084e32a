"""The models of simulated trainings: a line of JSON in place of weights, so that a file takes no time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from fervit.checkpoints.places import BEST_MODEL
from fervit.errors import UserError
from fervit.evaluation.evaluate import RESULTS_FILE, Evaluation
from fervit.search import steps
from fervit.search.outcome import sealed, settle
from fervit.search.outcome.sealed import SeedScore
from fervit.search.policy import sampler
from fervit.search.policy.optuna_study import SingleWriterJournal
from fervit.search.records.record import TrialRecord
from fervit.training.epoch import EpochResult


@dataclass(frozen=True)
class Model:
    """What stands in for a `Checkpoint`."""

    run: str
    """The name of the trial that trained it."""
    epoch: int
    metrics: dict[str, float]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.run} {self.epoch} {self.metrics}".encode()).hexdigest()


def write_model(path: Path, run: str, row: EpochResult) -> None:
    """Writes the model of an epoch."""
    metrics = {name: value for name, value in row.to_json().items() if name != "epoch"}
    write(path, {"run": run, "epoch": row.epoch, "metrics": metrics})


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes a file of a trial over the earlier one, whose folder may be missing."""
    text = json.dumps(content).encode()
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.write(file, text)
        os.ftruncate(file, len(text))  # not before: to empty a file and fill it again takes a disk longer
    finally:
        os.close(file)


def read_model(path: Path) -> Model:
    """Reads a model; see `load_checkpoint`."""
    path = path / BEST_MODEL if path.is_dir() else path
    try:
        return Model(**json.loads(path.read_text()))
    except (OSError, ValueError):
        raise UserError(f"{path}: is no model") from None


@contextmanager
def in_place_of_checkpoints(point: Callable[[str], None]) -> Iterator[None]:
    """A context in which the steps of a sweep read, export and evaluate these models.

    Args:
        point: is called wherever the driver may be killed.
    """

    def export(model: Any, folder: Path) -> None:
        point("export")
        folder.mkdir(parents=True, exist_ok=True)
        content = {"run": model.run, "epoch": model.epoch, "metrics": model.metrics}
        (folder / BEST_MODEL).write_text(json.dumps(content))
        point("exported")

    def evaluate(model: Any, latents: Any, output: Path, **given: Any) -> Evaluation:
        point("evaluate")
        metrics = {"f1_macro": model.metrics["f1_macro"], "accuracy": model.metrics["accuracy"], "n": 100}
        output.mkdir(parents=True, exist_ok=True)
        (output / RESULTS_FILE).write_text(json.dumps(metrics))
        point("evaluated")
        return Evaluation(split="test", metrics=metrics, output_dir=output)  # type: ignore[arg-type]

    def score(run: TrialRecord, model: Any, latents: Any) -> SeedScore:
        values = {"f1_macro": model.metrics["f1_macro"], "accuracy": model.metrics["accuracy"]}
        return SeedScore(seed=run.seed, epoch=model.epoch, checkpoint=model.fingerprint, **values)

    class Study(SingleWriterJournal):
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            point("before a line of the study")
            super().append_logs(logs)
            point("after a line of the study")

    look = SimpleNamespace(others=0, remark="", finish=lambda seen: point("look noted"))
    there = {
        (steps, "load_checkpoint"): read_model,
        (steps, "export"): export,
        (steps, "simple_models"): lambda *given: [],
        (steps, "model_card"): lambda result, model, changes: "a card\n",
        (settle, "load_checkpoint"): read_model,
        (sealed, "load_checkpoint"): read_model,
        (sealed, "evaluate"): evaluate,
        (sealed, "_score"): score,
        (sealed, "find_faces"): lambda latents: None,
        (sealed, "record_look"): lambda *args, **given: look,
        (sampler, "SingleWriterJournal"): Study,
    }
    patches = [mock.patch.object(module, name, value) for (module, name), value in there.items()]
    try:
        for patch in patches:
            patch.start()
        yield
    finally:
        for patch in patches:
            patch.stop()
