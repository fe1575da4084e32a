"""What `--recipe strong` is worth: its macro-F1 on validation against the guide's defaults', over some seeds.

    python benchmarks/recipe.py --latents LATENTS      # made by ../shared/tools/make_w_plus.py --scale 0.3
    python benchmarks/recipe.py --latents LATENTS --recipes guide --epochs 6 --seeds 0 1

A recipe's value is that of its best epoch, as a run keeps it. `--epochs` shortens the trainings: 60 epochs of the
guide's default model take an hour and a half a seed on two cores, and its best epoch is an early one.
"""

from __future__ import annotations

import statistics
import time

from fervit.cli import Parser, positive_int, run
from fervit.latents import LatentSet
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents
from fervit.training.recipes import RECIPES
from fervit.training.trainer import Trainer


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--latents", required=True, help="folder with train/ and val/")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES), help="what to compare")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of each recipe")
    parser.add_argument("--epochs", type=positive_int, help="instead of the recipe's")
    args = parser.parse()
    train, val = (DeviceLatents(LatentSet.read(f"{args.latents}/{split}")) for split in ("train", "val"))
    print(f"{len(train):,} training rows, {len(val):,} validation rows")
    for name in args.recipes:
        values = []
        for seed in args.seeds:
            changes = {"epochs": args.epochs} if args.epochs else {}
            trainer = Trainer(TrainConfig(**{**RECIPES[name], **changes, "seed": seed}), train, val)
            started, curve = time.perf_counter(), []
            while not trainer.finished:
                curve.append(trainer.run_epoch().f1_macro)
            assert trainer.best is not None
            values.append(trainer.best.f1_macro)
            print(
                f"{name}, seed {seed}: macro-F1 {values[-1]:.4f} in epoch {trainer.best.epoch} of {trainer.epoch}, "
                f"accuracy {trainer.best.accuracy:.4f}, {time.perf_counter() - started:.0f} s; "
                + " ".join(f"{value:.3f}" for value in curve),
                flush=True,
            )
        spread = f" (sd {statistics.stdev(values):.4f})" if len(values) > 1 else ""
        print(f"{name}: mean macro-F1 {statistics.mean(values):.4f}{spread} over {len(values)} seeds")


if __name__ == "__main__":
    run(main)
