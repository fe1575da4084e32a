"""What validation in bfloat16 would save a sweep on CPUs, and whether the ranking of trials would stay equal.

The random configurations of `benchmarks.sweep` train on one thread as its trials do. After each epoch a model is
measured in float32, as fervit does, and in bfloat16, in turn. The floor of a sweep is the time of training steps.

    python -m benchmarks.validation --latents LATENTS       # made by ../shared/tools/make_w_plus.py --scale 0.2
"""

from __future__ import annotations

import statistics
import time

import torch
from scipy.stats import kendalltau

from benchmarks.sweep import SAMPLES, SPACE, VALIDATION, first_rows, suggestions
from fervit.cli import Parser, positive_int, run
from fervit.latents import LatentSet
from fervit.search.space.space_file import parse_space
from fervit.training.data import DeviceLatents
from fervit.training.metrics import metrics_of_counts
from fervit.training.trainer import Trainer, dtype_of


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--latents", required=True, help="folder with train/ and val/")
    parser.add_argument("--trials", type=positive_int, default=12, help="configurations")
    parser.add_argument("--epochs", type=positive_int, default=3, help="of each")
    args = parser.parse()
    torch.set_num_threads(1)
    train, val = (
        DeviceLatents(first_rows(LatentSet.read(f"{args.latents}/{s}"), n))
        for s, n in (("train", SAMPLES), ("val", VALIDATION))
    )
    space = parse_space(SPACE, "benchmark")
    steps, seconds = 0.0, {torch.float32: 0.0, torch.bfloat16: 0.0}
    exact: list[float] = []
    fast: list[float] = []
    for suggestion in suggestions(space)[: args.trials]:
        trainer = Trainer(space.config(suggestion.params), train, val)
        for _ in range(args.epochs):
            result = trainer.run_epoch()
            steps += len(train) / result.samples_per_second
            for dtype, found in zip(seconds, (exact, fast), strict=True):
                started = time.perf_counter()
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                    trainer._validation_pass()
                seconds[dtype] += time.perf_counter() - started
                found.append(metrics_of_counts(trainer.confusion)["f1_macro"])
        print(f"{trainer.config.embed_dim} x {trainer.config.depth} in {dtype_of(trainer.config, train.device)}: done")
    off = [abs(a - b) for a, b in zip(exact, fast, strict=True)]
    pairs = [(i, j) for i in range(len(exact)) for j in range(i)]
    swapped = sum((exact[i] - exact[j]) * (fast[i] - fast[j]) < 0 for i, j in pairs)
    whole = steps + seconds[torch.float32]
    print(
        f"validation: {seconds[torch.float32]:.1f} s in float32, {seconds[torch.bfloat16]:.1f} s in bfloat16 "
        f"({seconds[torch.float32] / seconds[torch.bfloat16]:.2f}x); training steps {steps:.1f} s, "
        f"{steps / whole:.1%} of both, {steps / (steps + seconds[torch.bfloat16]):.1%} with bfloat16"
    )
    print(
        f"macro-F1 of {len(exact)} models: differs by {statistics.fmean(off):.4f} in the mean, {max(off):.4f} at most; "
        f"{swapped} of {len(pairs)} pairs change places, Kendall's tau {kendalltau(exact, fast)[0]:.3f}"
    )


if __name__ == "__main__":
    run(main)
