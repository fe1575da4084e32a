"""How often the forecast of a sweep's epochs holds, in simulated sweeps with the real samplers and stopping rules.

A forecast is a range; it should hold the truth in at least 90 % of the sweeps, before the first trial and when a
quarter or a half of the trials have ended. How wide it is then is printed, too: (high - low) / truth.

    python -m benchmarks.forecast [--sweeps 40] [--trials 64]
"""

from __future__ import annotations

import statistics
import time

from fervit.cli import Parser, positive_int, run
from fervit.search.forecast import forecast
from tests.helpers.simulated_sweeps import simulate, space_of

NOISES = (0.0, 0.02, 0.1)
"""The noise of the seed: none, a fifth of what good configurations differ by, as much as that."""


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--sweeps", type=positive_int, default=40, help="of each scheduler")
    parser.add_argument("--trials", type=positive_int, default=64, help="of a sweep")
    args = parser.parse()
    for scheduler in ("asha", "hyperband", "median"):
        started = time.perf_counter()
        held: dict[float, list[bool]] = {0.0: [], 0.25: [], 0.5: []}
        width: dict[float, list[float]] = {share: [] for share in held}
        lasted: dict[str, list[float]] = {"tpe": [], "random": []}
        for seed in range(args.sweeps):
            sampler = ("tpe", "random")[seed % 2]
            space = space_of(sampler, scheduler, seed, args.trials)
            records = simulate(space, noise=NOISES[seed // 2 % len(NOISES)]).records
            epochs = [len(record.epochs) for record in records]
            lasted[sampler].append(statistics.fmean(epochs))
            for share in held:
                known = round(share * len(records))
                expected, truth = forecast(space, 8, 100, records[:known]).epochs, sum(epochs[known:])
                held[share].append(truth in expected)
                width[share].append((expected.high - expected.low) / truth)
        print(
            f"{scheduler:<10} epochs a trial: "
            + ", ".join(f"{name} {min(means):.1f} to {max(means):.1f}" for name, means in lasted.items())
            + f" ({time.perf_counter() - started:.0f} s)"
        )
        for share, hits in held.items():
            print(
                f"    after {share:4.0%} of the trials: held in {sum(hits)} of {len(hits)}, "
                f"width {statistics.median(width[share]):.2f} of the truth",
                flush=True,
            )


if __name__ == "__main__":
    run(main)
