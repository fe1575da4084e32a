"""Compares the best trials by reruns with fresh seeds: means, confidence intervals, ties and the choice."""

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
    """A trial, and the best value of the metric in each rerun of its configuration with a fresh seed."""

    record: TrialRecord
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of the values over the fresh seeds."""
        return statistics.fmean(self.values)

    @property
    def text(self) -> str:
        """The mean with its 95 % confidence interval, such as "0.825 ± 0.045"."""
        return f"{self.mean:.3f}" + (f" ± {self.half_width:.3f}" if self.half_width is not None else "")

    @property
    def half_width(self) -> float | None:
        """Half the width of the mean's 95 % confidence interval (Student's t); None if there is a single value."""
        n = len(self.values)
        if n < 2:
            return None
        return float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * statistics.stdev(self.values) / math.sqrt(n))


def confirmations(best: Sequence[TrialRecord], records: Iterable[TrialRecord], metric: Metric) -> list[Confirmed]:
    """Collects the values of the finished reruns. A trial without a finished rerun is left out.

    Args:
        best: the trials that were confirmed.
        records: the trials and reruns of the sweep.
        metric: the metric of the sweep.
    """
    values: dict[int, list[float]] = {record.number: [] for record in best}
    for rerun in records:
        value = rerun.best_value(metric)
        if rerun.purpose != "search" and rerun.number in values and rerun.state == "finished" and value is not None:
            values[rerun.number].append(value)
    return [Confirmed(record=record, values=tuple(values[record.number])) for record in best if values[record.number]]


def choose(confirmed: Sequence[Confirmed], metric: Metric) -> tuple[Confirmed, list[Confirmed]]:
    """Returns the trial with the best mean over its reruns, and the trials that tie with it.

    A trial ties with the winner if the difference of their means is within the 95 % confidence interval of a zero
    difference (Student's t, with the variance over seeds pooled over all trials). If every trial has a single rerun,
    the variance is unknown and all trials tie.
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
