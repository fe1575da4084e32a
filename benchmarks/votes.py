"""What the votes of FER+'s ten taggers do to a model of the real FER2013 (`--votes`), with codes of the demo encoder.

    .venv/bin/python -m benchmarks.votes --data_root fer2013.csv.gz --votes fer2013new.csv --limit 6000

Three models a seed, alike but for their labels: FER2013's own, the class of most votes, and the shares of the votes.
All are measured on the same PublicTest faces, without copies of Training faces, by the class of most votes: macro-F1,
accuracy, and the share of the taggers who agree with the prediction. The epoch is chosen on a tenth of the Training
faces, by the labels that the model is trained on. Differences are paired by seed, with Student's 95 % interval. The
floor is 0: labels that change nothing.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats

from fervit.cli import Parser, positive_int, run
from fervit.encoders.registry import load_encoder
from fervit.encoders.runner import EncoderRunner
from fervit.evaluation.evaluate import probabilities_of
from fervit.evaluation.statistics import confusion
from fervit.images.face_index import FaceIndex
from fervit.images.index import open_faces
from fervit.images.pictures import pixels_sha256, resize
from fervit.labels.dealing import Fractions
from fervit.latents import LatentSet
from fervit.latents.fractions import take
from fervit.latents.votes import Votes
from fervit.progress import clock
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents
from fervit.training.metrics import metrics_of_counts
from fervit.training.recipes import RECIPES
from fervit.training.trainer import Trainer

LABELS, MAJORITY, DISTRIBUTION = "FER2013's labels", "class of most votes", "shares of the votes"
METRICS = ("macro-F1", "accuracy", "taggers who agree")
SMALL = {"depth": 2, "embed_dim": 64, "heads": 4, "mlp_dim": 128, "lr": 1e-3}
Splits = tuple[LatentSet, LatentSet]
"""The rows to train on, and those that choose the epoch."""


def encoded(index: FaceIndex, split: str, runner: EncoderRunner) -> LatentSet:
    """Encodes the faces of a split."""
    rows, fingerprint = index.of_split(split), runner.encoder.fingerprint
    pixels = np.stack([resize(index.read(source), fingerprint.input_size) for source in rows["source"].to_pylist()])
    codes, _ = runner.encode(pixels)
    return LatentSet(
        path=split,
        codes=codes.numpy().astype(np.float16),
        labels=rows["label"].to_numpy().astype(np.int64),
        image_ids=rows["image_id"].to_pylist(),
        sha256=[pixels_sha256(picture) for picture in pixels],
        encoder=fingerprint,
    )


def trained(splits: Splits, seed: int, changes: dict[str, Any]) -> torch.nn.Module:
    """Trains a model by the recipe "strong" with some changes, and returns it as of its best epoch."""
    trainer = Trainer(TrainConfig(**{**RECIPES["strong"], **changes, "seed": seed}), *map(DeviceLatents, splits))
    best: dict[str, torch.Tensor] = {}
    while not trainer.finished:
        trainer.run_epoch()
        if trainer.improved:
            best = {name: value.clone() for name, value in trainer.evaluated.state_dict().items()}
    trainer.evaluated.load_state_dict(best)
    return trainer.evaluated.eval()


def measured(model: torch.nn.Module, test: LatentSet) -> tuple[float, ...]:
    """Measures a model by the class of most votes, and by the share of the taggers who agree."""
    assert test.targets is not None
    predicted = probabilities_of(model, test.codes, 512).argmax(axis=1)
    values = metrics_of_counts(confusion(test.labels, predicted, len(test.label_set)))
    return values["f1_macro"], values["accuracy"], float(test.targets[np.arange(len(test)), predicted].mean())


def in_words(values: Sequence[float]) -> str:
    """The mean with its 95 % interval (Student's t)."""
    n = len(values)
    if n < 2:
        return f"{values[0]:.4f}"
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return f"{statistics.fmean(values):.4f} ± {half:.4f}"


def main() -> None:
    """Measures and prints the table."""
    flags = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    flags.add_argument("--data_root", default="../shared/data/fer2013_train_val.csv.gz", help="fer2013.csv[.gz]")
    flags.add_argument("--votes", default="../shared/data/ferplus/fer2013new_train_val.csv", help="FER+'s votes")
    flags.add_argument("--limit", type=positive_int, help="about this many faces; left out: all")
    flags.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of the trainings")
    flags.add_argument("--epochs", type=positive_int, help="instead of the recipe's")
    flags.add_argument("--small", action="store_true", help="a model of 2 layers x 64 in place of 6 x 512")
    args = flags.parse()
    changes: dict[str, Any] = {"epochs": args.epochs} if args.epochs else {}
    changes |= SMALL if args.small else {}
    started = time.monotonic()
    index, votes = open_faces(args.data_root).limited(args.limit), Votes.read(args.votes)
    runner = EncoderRunner(load_encoder("demo"), 64)
    whole, public = (encoded(index, split, runner) for split in ("train", "val"))
    parts = take(whole, Fractions(val=0.1))
    splits: dict[str, Splits] = {LABELS: (parts["train"], parts["val"])}
    splits[MAJORITY] = votes.splits("majority", *splits[LABELS])[0]
    splits[DISTRIBUTION] = votes.splits("distribution", *splits[LABELS])[0]
    known = set(whole.sha256)
    public = public.take(np.flatnonzero([digest not in known for digest in public.sha256]))
    test, counts = votes.relabelled(public, "distribution")
    print(
        f"{len(whole):,} Training faces, read and encoded in {clock(time.monotonic() - started)}; measured on "
        f"{len(test):,} of PublicTest, {counts['relabelled']} of which have another label by most votes; "
        f"{len(args.seeds)} seeds"
    )
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in splits}
    for seed in args.seeds:
        for name, both in splits.items():
            found[name].append(measured(trained(both, seed, changes), test))
            print(f"seed {seed}, {name}: " + ", ".join(f"{value:.4f}" for value in found[name][-1]), flush=True)
    print(f"\n| trained on | rows | {' | '.join(METRICS)} |\n|---|---|---|---|---|")
    for name, values in found.items():
        cells = [in_words([one[i] for one in values]) for i in range(len(METRICS))]
        print(f"| {name} | {len(splits[name][0]):,} | {' | '.join(cells)} |")
    for name in (MAJORITY, DISTRIBUTION):
        pairs = list(zip(found[name], found[LABELS], strict=True))
        cells = [in_words([one[i] - other[i] for one, other in pairs]) for i in range(len(METRICS))]
        print(f"| {name}, minus {LABELS}, paired | | {' | '.join(cells)} |")
    print(f"\nin {clock(time.monotonic() - started)}")


if __name__ == "__main__":
    run(main)
