"""Runs other samplers and schedulers on the recorded curves of a sweep: what they would have found, without
training."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

from fervit.cli import Parser, positive_int, run
from fervit.progress import Progress

SAMPLERS = ("tpe", "random", "qmc", "cmaes", "gp", "grid")
SCHEDULERS = ("asha", "hyperband", "median", "none")


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("sweep", type=Path, help="folder of a sweep; best one with early_stopping.scheduler=none")
    parser.add_argument("--sampler", nargs="+", choices=SAMPLERS, default=["tpe"], help="samplers to compare")
    parser.add_argument("--scheduler", nargs="+", choices=SCHEDULERS, default=["asha"], help="schedulers to compare")
    parser.add_argument(
        "--told",
        nargs="+",
        choices=("fervit", "optunasearch"),
        default=["fervit"],
        help="what the sampler hears of a stopped trial: fervit: PRUNED with its curve; optunasearch: COMPLETE with "
        "its last value, as Ray's OptunaSearch tells it",
    )
    parser.add_argument("--seeds", type=positive_int, default=20, help="replays of each, with other seeds")
    parser.add_argument(
        "--epochs", type=positive_int, help="budget of each replay (default: a quarter of the recording)"
    )
    parser.add_argument("--slots", type=positive_int, default=2, help="trials at once")
    args = parser.parse()

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
    found: dict[tuple[str, str, str], list[float]] = {}
    lines = []
    for way in ways:
        sampler, scheduler, told = way
        results = []
        for seed in range(args.seeds):
            results.append(
                replay(
                    recording,
                    sampler=sampler,
                    scheduler=scheduler,
                    told=told,
                    seed=seed,
                    epochs=epochs,
                    slots=args.slots,
                )
            )
            progress.add(1)
        found[way] = [result.best for result in results]
        trials = statistics.fmean(result.trials for result in results)
        stopped = statistics.fmean(result.stopped for result in results)
        lines.append(
            f"{sampler:<8} {scheduler:<10} {told:<13} {trials:6.1f} {stopped:8.1f}  {interval(found[way])}  "
            f"{interval([a - b for a, b in zip(found[way], found[ways[0]], strict=True)], '+')}"
        )
    progress.close()
    print(
        f"{'sampler':<8} {'scheduler':<10} {'told as':<13} trials  stopped  best {metric:<13} minus the first, by seed"
    )
    print("\n".join(lines))


def interval(values: list[float], sign: str = "") -> str:
    """The mean and the half width of its 95 % interval (Student's t)."""
    from scipy import stats

    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return f"{mean:{sign}.4f}"
    half = stats.t.ppf(0.975, n - 1) * statistics.stdev(values) / n**0.5
    return f"{mean:{sign}.4f} ± {half:.4f}"


if __name__ == "__main__":
    run(main)
