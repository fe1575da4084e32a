"""Runs other samplers and schedulers on the recorded curves of a sweep: what they would have found, without
training."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

from fervit.cli import Parser, positive_int

SAMPLERS = ("tpe", "random", "qmc", "cmaes", "gp", "grid")
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
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: the folder holds no sweep that can be replayed.
    """
    args = parser().parse()

    from fervit.progress import Progress
    from fervit.search.replay import read_recording, replay

    recording = read_recording(args.sweep)
    epochs = args.epochs or max(1, recording.epochs // 4)
    print(
        f"{len(recording.trials)} curves, {recording.epochs} epochs ({recording.left_out} trials left out: stopped or "
        f"failed); budget {epochs} epochs, {args.slots} trials at once, {args.seeds} seeds"
    )
    metric = recording.space.metric.name
    ways = list(itertools.product(args.sampler, args.scheduler, args.told))
    progress = Progress(len(ways) * args.seeds, "replays", "replay")
    found: list[list[float]] = []
    lines = []
    for sampler, scheduler, told in ways:
        way = {"sampler": sampler, "scheduler": scheduler, "told": told, "epochs": epochs, "slots": args.slots}
        results = []
        for seed in range(args.seeds):
            results.append(replay(recording, **way, seed=seed))
            progress.add(1)
        found.append([result.best for result in results])
        trials = statistics.fmean(result.trials for result in results)
        stopped = statistics.fmean(result.stopped for result in results)
        lines.append(
            f"{sampler:<8} {scheduler:<10} {told:<13} {trials:6.1f} {stopped:8.1f}  {interval(found[-1])}  "
            f"{interval([a - b for a, b in zip(found[-1], found[0], strict=True)], '+')}"
        )
    progress.close()
    print(
        f"{'sampler':<8} {'scheduler':<10} {'told as':<13} trials  stopped  best {metric:<13} minus the first, by seed"
    )
    print("\n".join(lines))


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
