"""Predictions of 20 trainings of the best configuration of each recording, for its fresh faces.

They are what `benchmarks/honesty.py` makes equal models of, and draws test splits from.

    nice -n 10 python -m benchmarks.predictions --out /tmp/recordings [--packed benchmarks/recordings] [--only clean]

It needs what `benchmarks/recordings.py` has written into --out: the latents and the trainings of the search.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.recordings import HERE, PLANS, Recorder, Splits
from fervit.cli import Parser, run
from fervit.errors import UserError
from fervit.io.files import whole_file
from fervit.runs.session import TRIAL, Session, SessionFiles
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sources import rerun
from fervit.search.records.ranking import distinct, ranked
from fervit.training.trainer import VALIDATION_BATCH, Trainer

SUFFIX = ".predictions.npz"
MODELS = 20


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The predictions of several models for the same faces."""

    labels: np.ndarray
    """The true classes, integers [n]."""
    predicted: np.ndarray
    """The predicted classes, integers [models, n]."""

    @classmethod
    def read(cls, path: Path) -> Answers:
        """Reads what `write` wrote.

        Raises:
            UserError: it is not there, or damaged.
        """
        try:
            with np.load(path) as found:
                return cls(labels=found["labels"].astype(np.int64), predicted=found["predicted"].astype(np.int64))
        except (OSError, ValueError, KeyError):
            raise UserError(f"{path}: is missing or damaged; python -m benchmarks.predictions makes it") from None

    def write(self, path: Path) -> None:
        """Writes the predictions, compressed."""
        with whole_file(path) as aside, aside.open("wb") as file:
            np.savez_compressed(file, labels=self.labels.astype(np.int8), predicted=self.predicted.astype(np.int8))


def answers(planned: Planned, splits: Splits, metric: object) -> np.ndarray:
    """Trains a model as `recordings.train` does, and returns its predictions for the fresh faces, of its best epoch."""
    trainer = Trainer(planned.config, splits.train, splits.val, metric=metric)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        files = SessionFiles(**{name: Path(folder) / name for name in ("best", "last", "stop")})
        session = Session(trainer, files, replace(TRIAL, share=1e-9, best_share=0.0), decided_after=())
        said = np.zeros(len(splits.fresh), np.int64)
        while not trainer.finished:
            session.run_epoch()
            if trainer.improved:
                said = predicted_by(trainer, splits)
    return said


@torch.inference_mode()
def predicted_by(trainer: Trainer, splits: Splits) -> np.ndarray:
    """Returns the predictions of the current model for the fresh faces."""
    model = trainer.evaluated.eval()
    parts = torch.arange(len(splits.fresh)).split(VALIDATION_BATCH)
    return np.concatenate([model(splits.fresh.batch(part)[0]).argmax(dim=1).numpy() for part in parts])


def main() -> None:
    """Trains the models of each recording, and writes their predictions."""
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("/tmp/recordings"), help="what benchmarks.recordings wrote")
    parser.add_argument("--packed", type=Path, default=HERE / "recordings", help="where the predictions are written")
    parser.add_argument("--only", nargs="+", choices=[plan.name for plan in PLANS], help="some of the sweeps")
    parser.add_argument("--tiny", action="store_true", help="a few small trainings, to try the way")
    args = parser.parse()
    args.packed.mkdir(parents=True, exist_ok=True)
    for plan in PLANS:
        recorder = Recorder(plan, args.out, tiny=args.tiny)
        target = args.packed / f"{plan.name}{SUFFIX}"
        if target.is_file() or (args.only is not None and plan.name not in args.only):
            continue
        space, splits = recorder.space, Splits.read(recorder.latents)
        searched = [one.record() for one in recorder.done() if one.group == "sweep"]
        best = distinct(ranked(searched, space.metric))[0]
        plans = [rerun(space, best, i, "confirm") for i in range(4 if args.tiny else MODELS)]
        said = [answers(planned, splits, space.metric) for planned in plans]
        labels = np.concatenate([splits.fresh.batch(part)[1].numpy() for part in torch.arange(len(said[0])).split(512)])
        Answers(labels=labels, predicted=np.stack(said)).write(target)
        print(f"{target}: {len(said)} models, {target.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    run(main)
