"""Compares the best trials by reruns with fresh seeds: means, confidence intervals, ties and the choice."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from fervit.search.outcome.baseline import baseline_of
from fervit.search.policy.sources import fresh_seeds
from fervit.search.records.ranking import configuration, distinct, in_order_of_confirmation
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import SearchSpace
from fervit.training.objective import Metric

CONFIDENCE = 0.95
OF_SEEDS = (
    "The interval of a mean over fresh seeds holds what ever more seeds would reach on these validation faces, and not "
    "what the models reach on other faces: that is less, since these chose the configuration and each run's epoch."
)
"""What the interval of a confirmed mean, a gain and a tie hold and do not hold, for the reader of a report."""
SHIFTS_ARE_CLEAR = 0.01
"""The chance with which seeds that shift nothing are taken for seeds that shift all configurations alike."""


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A trial, and the best value of the metric in each rerun of its configuration with a fresh seed."""

    record: TrialRecord
    values: tuple[float, ...]
    seeds: tuple[int, ...] = ()
    """The seed of each value; empty where they are not known to be those of others."""
    missing: int = 0
    """The number of reruns that failed or were stopped, and so have no value."""

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


@dataclass(frozen=True, kw_only=True)
class Gain:
    """By how much the chosen configuration is better than the baseline, in the mean over fresh seeds."""

    baseline: Confirmed
    difference: float
    """The difference of the two means; positive if the chosen configuration is better."""
    half_width: float | None
    """Half the width of its 95 % confidence interval, as for ties; None if the variance over seeds is unknown."""

    @property
    def text(self) -> str:
        """The difference with its interval, such as "+0.021 ± 0.013 (95 %)"."""
        interval = f" ± {self.half_width:.3f} (95 %)" if self.half_width is not None else ""
        return f"{self.difference:+.3f}{interval}"

    def sentence(self, name: str) -> str:
        """Returns the comparison in words, such as "Better than the guide's configuration by 0.021 ± 0.013 (95 %)"."""
        word = "Better" if self.difference >= 0 else "Worse"
        noise = self.half_width is not None and abs(self.difference) <= self.half_width
        return f"{word} than {name} by {self.text.lstrip('+-')}{', within the noise of the seeds' if noise else ''}"


def candidates(ranking: Sequence[TrialRecord], records: Iterable[TrialRecord], space: SearchSpace) -> list[TrialRecord]:
    """Returns the trials to confirm, best first: one of each configuration.

    They are the best `confirm.top` configurations of the search (`in_order_of_confirmation`), the baseline, and those
    that an earlier session has confirmed: a resumed sweep with more trials never drops a confirmed configuration.

    Args:
        ranking: the trials of the search, best first.
        records: the trials and reruns of the sweep.
        space: the search space.
    """
    if not space.confirm.top:
        return []
    again = {r.number for r in records if r.purpose == "confirm" and r.state == "finished"}
    of = {configuration(record.params): record for record in reversed(ranking) if record.number in again}
    baseline = baseline_of(space, ranking)
    in_order = in_order_of_confirmation(ranking, space.metric)
    best = distinct(in_order)[: space.confirm.top]
    for record in [*best, *([baseline] if baseline is not None else [])]:
        of.setdefault(configuration(record.params), record)
    numbers = {record.number for record in of.values()}
    return [record for record in in_order if record.number in numbers]


def confirmations(best: Sequence[TrialRecord], records: Iterable[TrialRecord], space: SearchSpace) -> list[Confirmed]:
    """Collects the values of the finished reruns. A trial without a finished rerun is left out.

    A rerun is missing that the confirmation plans and that did not finish, or that failed by itself. A rerun beyond the
    planned ones that a budget cut, such as one that was to measure the noise of the seed, says nothing of its trial.

    Args:
        best: the trials that were confirmed.
        records: the trials and reruns of the sweep.
        space: the search space.
    """
    found: dict[int, list[tuple[int, float]]] = {record.number: [] for record in best}
    lacking = {record.number: set(fresh_seeds(space)) for record in best}
    for rerun in records:
        if rerun.purpose in ("search", "fold") or rerun.number not in found:
            continue
        value = rerun.best_value(space.metric)
        if rerun.state == "finished" and value is not None:
            found[rerun.number].append((rerun.seed, value))
            lacking[rerun.number].discard(rerun.seed)
        elif rerun.state == "failed":
            lacking[rerun.number].add(rerun.seed)
    return [
        Confirmed(
            record=record,
            values=tuple(value for _, value in found[record.number]),
            seeds=tuple(seed for seed, _ in found[record.number]),
            missing=len(lacking[record.number]),
        )
        for record in best
        if found[record.number]
    ]


def choose(
    confirmed: Sequence[Confirmed], metric: Metric, baseline: Confirmed | None = None, faces: int = 0
) -> tuple[Confirmed, list[Confirmed]]:
    """Returns the trial that is chosen and the trials that tie with it, each of which may as well be the best.

    That is the trial with the best mean over its reruns, unless a baseline is given that it does not clearly beat: then
    the baseline stays. A search among configurations that hardly differ would otherwise end with one that is worse than
    what the user had before in almost half of the cases ("overtuning": Schneider, Bischl and Feurer, 2025;
    benchmarks/README.md has how often). Clear is what exceeds the noise of the seeds, as for ties, and that of the
    faces together: another choice of validation faces would have changed the difference, too.

    A trial of which more reruns are missing comes after those of which fewer are, since its mean is of the seeds that
    went well. A trial ties with the winner if the difference of their means is within the 95 % confidence interval of a
    zero difference by Tukey's range test (Tukey-Kramer; the variance over seeds is pooled over all trials, without what
    each seed does to all trials alike where that is clear), so that all true ties are found together in 95 of 100
    sweeps, however many trials are compared. If every trial has a single rerun, the variance is unknown and all trials
    tie; the best one is then chosen whether the baseline is among them or not.

    Args:
        confirmed: the confirmed trials.
        metric: the metric of the sweep.
        baseline: the one among them that the search started from (`baseline_among`); None for none.
        faces: the number of validation faces; 0 for the noise of the seeds alone.
    """
    fewest = min(one.missing for one in confirmed)
    complete = [one for one in confirmed if one.missing == fewest]
    winner = max(complete, key=lambda c: (metric.sign * c.mean, -c.record.number))
    others = [one for one in complete if one is not winner]

    def within_noise(other: Confirmed, of_faces: float = 0.0) -> bool:
        half_width = _simultaneous(winner, other, complete)
        return half_width is None or abs(winner.mean - other.mean) <= math.hypot(half_width, of_faces)

    ties = [one for one in others if within_noise(one)]
    baseline = next((one for one in others if one is baseline), None)
    if (
        baseline is None
        or _simultaneous(winner, baseline, complete) is None
        or not within_noise(baseline, noise_of_faces(metric, faces))
    ):
        return winner, ties
    return baseline, [one for one in complete if one is winner or (one is not baseline and one in ties)]


def noise_of_faces(metric: Metric, faces: int) -> float:
    """Returns half the width of a 95 % interval for what the choice of faces does to a difference of two models.

    It is 1.96 / (2 sqrt(faces)): the most for two accuracies whose rights and wrongs correlate by 0.5. It is 0 for a
    loss, of which nothing is known but its mean.
    """
    if metric.name == "val_loss" or not faces:
        return 0.0
    return float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) / (2 * math.sqrt(faces))


def baseline_among(
    space: SearchSpace, ranking: Sequence[TrialRecord], confirmed: Sequence[Confirmed]
) -> Confirmed | None:
    """Returns the confirmed trial with the configuration of the baseline; None if there is none.

    Args:
        space: the search space.
        ranking: the trials of the search that have a result.
        confirmed: the confirmed trials. The baseline may be confirmed as another trial of the same configuration.
    """
    baseline = baseline_of(space, ranking)
    same = None if baseline is None else configuration(baseline.params)
    return next((one for one in confirmed if configuration(one.record.params) == same), None)


def baseline_that_may_stay(
    space: SearchSpace, ranking: Sequence[TrialRecord], confirmed: Sequence[Confirmed]
) -> Confirmed | None:
    """Returns the confirmed baseline, for `choose`; None if there is none, or if it is not to be preferred."""
    return baseline_among(space, ranking, confirmed) if space.confirm.keep_baseline else None


def why_it_stays(chosen: Confirmed, ties: Sequence[Confirmed], metric: Metric) -> str:
    """Says why a configuration was chosen although the mean of another is better; "" if none is."""
    better = [one for one in ties if metric.better(one.mean, chosen.mean)]
    if not better:
        return ""
    others = ", ".join(f"trial {one.record.number}" for one in better)
    noise = "the noise of the seeds and the faces"
    return f"The baseline (trial {chosen.record.number}) stays: {others} is not better beyond {noise}"


def gain_over_baseline(
    space: SearchSpace, ranking: Sequence[TrialRecord], number: int, confirmed: Sequence[Confirmed]
) -> Gain | None:
    """Compares a confirmed configuration with the baseline; None if it is the baseline or one of them has no mean.

    Args:
        space: the search space.
        ranking: the trials of the search that have a result.
        number: the number of the configuration.
        confirmed: the confirmed trials. The baseline may be confirmed as another trial of the same configuration.
    """
    winner = next((one for one in confirmed if one.record.number == number), None)
    reference = baseline_among(space, ranking, confirmed)
    if winner is None or reference is None or reference is winner:
        return None
    return gain(winner, reference, confirmed, space.metric)


def gain(chosen: Confirmed, baseline: Confirmed, confirmed: Sequence[Confirmed], metric: Metric) -> Gain:
    """Compares the chosen configuration with the baseline.

    The interval is Tukey's, which holds although the chosen configuration is the best of several.
    """
    complete = [one for one in confirmed if not one.missing or one in (chosen, baseline)]
    return Gain(
        baseline=baseline,
        difference=metric.sign * (chosen.mean - baseline.mean),
        half_width=_simultaneous(chosen, baseline, complete),
    )


def _simultaneous(one: Confirmed, other: Confirmed, compared: Sequence[Confirmed]) -> float | None:
    """Half the width of the simultaneous 95 % interval of the difference of two means; None if it is unknown."""
    found = _paired(compared) or _pooled(compared)
    if found is None:
        return None
    variance, freedom = found
    error = math.sqrt(variance * (1 / len(one.values) + 1 / len(other.values)))
    return _tukey(len(compared), freedom) / math.sqrt(2) * error


def _pooled(compared: Sequence[Confirmed]) -> tuple[float, int] | None:
    """The variance over seeds, pooled over the trials, and its degrees of freedom; None without any."""
    freedom = sum(len(c.values) - 1 for c in compared)
    if freedom == 0:
        return None
    squares = sum((len(c.values) - 1) * statistics.variance(c.values) for c in compared if len(c.values) > 1)
    return squares / freedom, freedom


def _paired(compared: Sequence[Confirmed]) -> tuple[float, int] | None:
    """The variance that is left if each seed shifts all trials alike (randomised blocks), and its degrees of freedom.

    None unless all trials have the same seeds, and the shifts of the seeds are clear (F test at 1 %). In simulations
    of equal configurations without any shift, 2 to 6 of them with 3 to 5 seeds, this rule denies a true tie in at most
    5.4 % of the sweeps; with shifts, in at most 5.1 %.
    """
    seeds = sorted(set(compared[0].seeds)) if compared else []
    k, n = len(compared), len(seeds)
    if k < 2 or n < 2 or any(sorted(one.seeds) != seeds for one in compared):
        return None
    values = np.array([[value for _, value in sorted(zip(one.seeds, one.values, strict=True))] for one in compared])
    shifts = values.mean(axis=0) - values.mean()
    left = values - values.mean(axis=1, keepdims=True) - shifts
    freedom = (k - 1) * (n - 1)
    variance = float((left**2).sum()) / freedom
    of_seeds = k * float((shifts**2).sum()) / (n - 1)
    if not variance or of_seeds / variance <= stats.f.ppf(1 - SHIFTS_ARE_CLEAR, n - 1, freedom):
        return None
    return variance, freedom


@lru_cache
def _tukey(means: int, freedom: int) -> float:
    """The studentized range that the range of equal means exceeds in 5 of 100 cases."""
    return float(stats.studentized_range.ppf(CONFIDENCE, means, freedom))
