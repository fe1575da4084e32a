"""Runs other samplers and schedulers on the recorded curves of a sweep: what they would have found, without
training."""

from __future__ import annotations

import itertools
import statistics
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from fervit.cli import Parser, positive_int
from fervit.commands.folders import refuse_no_sweep
from fervit.commands.output import add_format, printing
from fervit.commands.results import Replayed, Replays

if TYPE_CHECKING:
    from fervit.search.replay import Recording

SAMPLERS = ("tpe", "random", "qmc", "cmaes", "gp", "grid")
FEW_CURVES = 20
"""With fewer recorded configurations, samplers and schedulers can hardly differ: all soon have tried the same ones."""
SCHEDULERS = ("asha", "hyperband", "median", "thaw", "none")


def parser() -> Parser:
    """Defines the flags of `launch/replay.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument(
        "sweep",
        type=Path,
        help="folder of a sweep, best one with early_stopping.scheduler=none; or a recording, *.json.xz",
    )
    flags.add_argument("--sampler", nargs="+", choices=SAMPLERS, default=["tpe"], help="samplers to compare")
    flags.add_argument("--scheduler", nargs="+", choices=SCHEDULERS, default=["asha"], help="schedulers to compare")
    flags.add_argument(
        "--told",
        nargs="+",
        choices=("fervit", "optunasearch"),
        default=["fervit"],
        help="what the sampler hears of a stopped trial: fervit: PRUNED with its curve; optunasearch: COMPLETE with "
        "its last value, as Ray's OptunaSearch tells it",
    )
    flags.add_argument("--seeds", type=positive_int, default=20, help="replays of each, with other seeds")
    flags.add_argument(
        "--epochs", type=positive_int, help="budget of each replay (default: a quarter of the recording)"
    )
    flags.add_argument("--slots", type=positive_int, default=2, help="trials at once")
    add_format(flags, of="replay")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: the folder holds no sweep that can be replayed.
    """
    args = parser().parse()
    refuse_no_sweep(args.sweep)

    from fervit.search.replay import read_recording

    with printing(args.format) as give:
        recording = read_recording(args.sweep)
        epochs = args.epochs or max(1, recording.epochs // 4)
        print(
            f"{len(recording.trials)} curves, {recording.epochs} epochs ({recording.left_out} trials left out: stopped "
            "or failed)"
        )
        print(f"budget {epochs} epochs, {args.slots} trials at once, {args.seeds} seeds")
        if len(recording.trials) < FEW_CURVES:
            print(
                f"FEW CURVES: with {len(recording.trials)} configurations to find, samplers hardly differ;\n"
                f"record {FEW_CURVES} or more to compare them"
            )
        ways, metric = _replays(args, recording, epochs), recording.space.metric.name
        _table(ways, recording.space.metric.words)
        give(
            Replays(
                metric=metric,
                curves=len(recording.trials),
                left_out=recording.left_out,
                epochs=epochs,
                seeds=args.seeds,
                ways=ways,
            )
        )


def _replays(args: Namespace, recording: Recording, epochs: int) -> list[Replayed]:
    """Replays every combination of samplers, schedulers and what samplers hear, with each seed."""
    from fervit.progress import Progress
    from fervit.search.replay import replay

    combinations = list(itertools.product(args.sampler, args.scheduler, args.told))
    progress = Progress(len(combinations) * args.seeds, "replays", "replay")
    ways = []
    for sampler, scheduler, told in combinations:
        way = {"sampler": sampler, "scheduler": scheduler, "told": told}
        results = []
        for seed in range(args.seeds):
            results.append(replay(recording, **way, epochs=epochs, slots=args.slots, seed=seed))
            progress.add(1)
        trials = statistics.fmean(result.trials for result in results)
        stopped = statistics.fmean(result.stopped for result in results)
        ways.append(Replayed(**way, trials=trials, stopped=stopped, best=[result.best for result in results]))
    progress.close()
    return ways


def _table(ways: list[Replayed], metric: str) -> None:
    """Prints a line for each way of searching, of at most 80 columns."""
    told = len({way.told for way in ways}) > 1
    print(f"best {metric} on validation, and minus that of the first way by seed, with 95 % intervals:")
    heading = f"{'sampler':<8}{'scheduler':<10}" + (f"{'told':<13}" if told else "")
    print(f"{heading}{'trials':>6}{'stopped':>8}  {'best':<15}  minus the first")
    for way in ways:
        behind = [a - b for a, b in zip(way.best, ways[0].best, strict=True)]
        line = f"{way.sampler:<8}{way.scheduler:<10}" + (f"{way.told:<13}" if told else "")
        print(f"{line}{way.trials:>6.1f}{way.stopped:>8.1f}  {interval(way.best):<15}  {interval(behind, '+')}")


def interval(values: list[float], sign: str = "") -> str:
    """Formats the mean of some values with half the width of its 95 % confidence interval (Student's t).

    Args:
        values: one or more values.
        sign: "+" to write a plus before a positive mean.

    Returns:
        The text, such as "0.4120 ± 0.0031". A single value gives only the mean.
    """
    from scipy import stats

    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return f"{mean:{sign}.4f}"
    half = stats.t.ppf(0.975, n - 1) * statistics.stdev(values) / n**0.5
    return f"{mean:{sign}.4f} ± {half:.4f}"
