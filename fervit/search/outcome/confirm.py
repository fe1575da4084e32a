"""The best trials again with fresh seeds: means, intervals, ties, and the choice. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy import stats

from fervit.search.records.record import TrialRecord
from fervit.training.objective import Metric

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A trial and the best value that each rerun of its configuration reached."""

    record: TrialRecord
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the fresh seeds."""
        return statistics.fmean(self.values)

    @property
    def text(self) -> str:
        """Such as "0.825 ± 0.045", the mean with its 95 % interval."""
        return f"{self.mean:.3f}" + (f" ± {self.half_width:.3f}" if self.half_width is not None else "")

    @property
    def half_width(self) -> float | None:
        """Of the 95 % interval of the mean (Student's t); None with a single value."""
        n = len(self.values)
        if n < 2:
            return None
        return float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * statistics.stdev(self.values) / math.sqrt(n))


def confirmations(best: Sequence[TrialRecord], records: Iterable[TrialRecord], metric: Metric) -> list[Confirmed]:
    """What the finished reruns of some trials reached; a trial without one is left out."""
    values: dict[int, list[float]] = {record.number: [] for record in best}
    for rerun in records:
        value = rerun.best_value(metric)
        if rerun.purpose != "search" and rerun.number in values and rerun.state == "finished" and value is not None:
            values[rerun.number].append(value)
    return [Confirmed(record=record, values=tuple(values[record.number])) for record in best if values[record.number]]


def choose(confirmed: Sequence[Confirmed], metric: Metric) -> tuple[Confirmed, list[Confirmed]]:
    """The trial with the best mean, and those that the reruns cannot tell from it.

    A trial ties with the winner when the difference of their means is within the 95 % interval of a difference, with
    the spread of the seeds pooled over all trials. With single reruns there is no spread to judge by: all tie.
    """
    winner = max(confirmed, key=lambda c: (metric.sign * c.mean, -c.record.number))
    others = [c for c in confirmed if c is not winner]
    freedom = sum(len(c.values) - 1 for c in confirmed)
    if freedom == 0:
        return winner, others
    pooled = sum((len(c.values) - 1) * statistics.variance(c.values) for c in confirmed if len(c.values) > 1) / freedom
    t = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom))

    def within_noise(other: Confirmed) -> bool:
        error = math.sqrt(pooled * (1 / len(winner.values) + 1 / len(other.values)))
        return abs(winner.mean - other.mean) <= t * error

    return winner, [c for c in others if within_noise(c)]
