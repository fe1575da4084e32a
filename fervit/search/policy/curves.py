"""A model of learning curves: a Gaussian process over configuration and epoch, fitted to all curves of a sweep so far.

The freeze-thaw idea of Swersky, Snoek and Adams (2014), "Freeze-thaw Bayesian optimization": a curve is what all
trainings have in common, what its configuration adds to that, and what is its own. Each part is smooth over the
logarithm of the epoch; the second is a Matern kernel over the space with a length scale for each hyperparameter. How
far an early epoch tells of the last one is thus learned: where it tells nothing, the model relies on configurations.

Curves of earlier sweeps have a common part of their own, so that neither their level nor their shape matters, and what
a configuration adds there is correlated with what it adds here (a multi-task process: Bonilla, Chai and Williams,
"Multi-task Gaussian process prediction", NIPS 2007, and for searches Swersky, Snoek and Adams, NIPS 2013).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

COMMON, COMMON_SCALE = 1.5, 1.2
"""The standard deviation and the length scale (in logarithms of the epoch) of what all curves have in common."""
MOST_POINTS = 300
"""The process is fitted to at most so many values, since its time grows with their number cubed."""
MOST_EARLIER = 120
"""The most values of earlier sweeps that are among them."""
JITTER = 1e-8
TYPICAL = (math.log(0.7), math.log(0.3), math.log(0.08), math.log(1.5), 0.0, 0.7)
"""The prior means of the parameters: logarithms of the standard deviations of what the configuration adds, of what is a
trial's own, and of the noise of an epoch, in units of all values' deviation; logarithms of the length scales of the
first two over epochs; and the logarithm of the growth of these two from epoch 1 to the last."""
SPREAD = (0.7, 0.7, 0.7, 0.5, 0.5, 0.7)
"""The prior standard deviations of these."""
REACH = 5
"""A fit stays within so many of them from the means: a search that steps further would leave the range of numbers."""
SPREAD_OF_SCALES = 0.8
"""The prior standard deviation of the logarithm of a hyperparameter's length scale, whose prior mean is 0."""
SHARE_OF_CONFIGURATION = 0.1
"""The share of the variance of what is a trial's own that comes from its configuration, where that is unlike its
neighbours. The rest is the luck of its seed, which another seed would not have, so that no prediction counts it. One
seed each cannot tell the two apart; benchmarks/README.md says what the share was chosen on."""

Curves = Mapping[int, Sequence[float]]
"""The index of a trial -> its best value so far after each epoch, from epoch 1. A higher one is always better."""


class _Points(NamedTuple):
    """Values of curves: the index of the trial, the logarithm of the epoch, and the value."""

    trials: np.ndarray
    times: np.ndarray
    values: np.ndarray


class EarlierCurves(NamedTuple):
    """Curves of earlier sweeps."""

    points: np.ndarray
    """The configurations, float64 [trials, coordinates]."""
    curves: Sequence[Sequence[float]]
    """The best values so far of each, from epoch 1. A higher one is always better."""
    sources: np.ndarray
    """The number of the sweep of each, from 0, int64 [trials]."""
    likeness: np.ndarray
    """The correlation of what a configuration adds in each of the sweeps with what it adds here, float64 [sweeps]."""


class CurveModel:
    """Predicts the mean value over seeds at the last epoch for each configuration, from the curves so far.

    Args:
        groups: for each coordinate of a configuration, the number of its hyperparameter, from 0.
        epochs: the last epoch.
        looks: the epochs at which curves are read, in order.
        earlier: the curves of earlier sweeps; None for none.
    """

    def __init__(
        self, groups: Sequence[int], epochs: int, looks: Sequence[int], earlier: EarlierCurves | None = None
    ) -> None:
        self._groups, self._epochs, self._looks = np.array(groups, dtype=np.int64), epochs, looks
        self._last = max(math.log(epochs), 1e-9)
        scales = 1 + int(self._groups.max()) if len(groups) else 0
        self._typical = np.array([*TYPICAL, *[0.0] * scales])
        self._spread = np.array([*SPREAD, *[SPREAD_OF_SCALES] * scales])
        self._parameters = self._typical.copy()
        self.luck = 0.0
        """The standard deviation of what is a trial's own at the last epoch, its seed's part among it, by the evidence
        of the last prediction, whatever was pending."""
        self._earlier = earlier
        self._read_before = self._read_earlier(earlier) if earlier is not None else []

    def fit(self, points: np.ndarray, curves: Curves) -> None:
        """Fits the parameters to the curves: the maximum a posteriori, searched from the parameters so far.

        Args:
            points: float64 [trials, coordinates], the configurations.
            curves: the curves of those that have any.
        """
        likelihood = self._likelihood(points, curves)
        if likelihood is not None:
            bounds = list(zip(self._typical - REACH * self._spread, self._typical + REACH * self._spread, strict=True))
            found = minimize(
                likelihood, self._parameters, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 15}
            )
            self._parameters = found.x

    def _likelihood(self, points: np.ndarray, curves: Curves) -> _Likelihood | None:
        """Returns the function that a fit minimises; None if too few curves are known."""
        seen = self._seen(points, curves)
        if len(set(seen.trials.tolist())) < 3:
            return None
        both, prior = self._of_pairs(seen.trials, seen.trials, len(points)), (self._typical, self._spread)
        return _Likelihood(seen, self._with_earlier(points), self._groups, self._last, prior, both)

    def predict(self, points: np.ndarray, curves: Curves, pending: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and standard deviation of what each configuration reaches at the last epoch, [trials] each.

        What it reaches is its mean over seeds: a trial that does better than its configuration explains is taken for
        lucky, but for `SHARE_OF_CONFIGURATION`.

        Args:
            points: float64 [trials, coordinates], the configurations.
            curves: the curves of those that have any, at least one unless there are earlier sweeps.
            pending: the trials that are training: what they will tell is taken for known, so that those chosen beside
                them are of other regions.
        """
        seen = self._seen(points, curves)
        everyone, scaling = np.arange(len(points)), (float(seen.values.mean()), max(float(seen.values.std()), 1e-9))
        self.luck = scaling[1] * math.exp(self._parameters[1])
        mean, deviation = self._predict(points, seen, everyone, scaling)
        if pending:
            ends = np.full(len(pending), self._last)
            more = _Points(np.array(pending), ends, mean[list(pending)])
            joined = _Points(*(np.concatenate(pair) for pair in zip(seen, more, strict=True)))
            _, narrowed = self._predict(points, joined, everyone, scaling)
            others = np.setdiff1d(everyone, pending)
            deviation[others] = narrowed[others]
        return mean, deviation

    def _predict(
        self, points: np.ndarray, seen: _Points, asked: np.ndarray, scaling: tuple[float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `predict` does for some trials; `scaling` is the mean and the deviation of the real values."""
        centre, scale = scaling
        covariance = self._covariance(points, seen.trials, seen.times, seen.trials, seen.times)
        covariance[np.diag_indices(len(seen.values))] += math.exp(2 * self._parameters[2]) + JITTER
        lower = np.linalg.cholesky(covariance)
        ends = np.full(len(asked), self._last)
        cross = self._covariance(points, seen.trials, seen.times, asked, ends, of_own=SHARE_OF_CONFIGURATION)
        white = solve_triangular(lower, cross, lower=True)
        mean = white.T @ solve_triangular(lower, (seen.values - centre) / scale, lower=True)
        of_configuration, own = np.exp(2 * self._parameters[:2]).tolist()
        prior = COMMON**2 + of_configuration + SHARE_OF_CONFIGURATION * own
        variance = np.maximum(prior - (white * white).sum(0), 1e-10)
        return centre + scale * mean, scale * np.sqrt(variance)

    def _covariance(
        self,
        points: np.ndarray,
        a: np.ndarray,
        a_times: np.ndarray,
        b: np.ndarray,
        b_times: np.ndarray,
        of_own: float = 1.0,
    ) -> np.ndarray:
        """Returns the covariances of trials at some times with trials at others; `of_own` scales what is their own."""
        p = self._parameters
        scales = np.exp(p[6:])[self._groups]
        together, alike = self._of_pairs(a, b, len(points))
        points = self._with_earlier(points)
        left, right = points[a] / scales, points[b] / scales
        squares = (left * left).sum(1)[:, None] + (right * right).sum(1)[None, :] - 2 * left @ right.T
        near = _matern52(np.sqrt(5 * np.maximum(squares, 0.0)))
        apart = np.abs(a_times[:, None] - b_times[None, :])
        growth = np.exp(p[5] * (a_times / self._last - 1))[:, None] * np.exp(p[5] * (b_times / self._last - 1))[None, :]
        of_configuration = math.exp(2 * p[0]) * near * _matern32(math.sqrt(3) * apart / math.exp(p[3]))
        own = math.exp(2 * p[1]) * (a[:, None] == b[None, :]) * _matern32(math.sqrt(3) * apart / math.exp(p[4]))
        return np.asarray(together * _common(apart) + growth * (alike * of_configuration + of_own * own))

    def _with_earlier(self, points: np.ndarray) -> np.ndarray:
        return points if self._earlier is None else np.vstack([points, self._earlier.points])

    def _of_pairs(self, a: np.ndarray, b: np.ndarray, n: int) -> tuple[np.ndarray | float, np.ndarray | float]:
        """Returns for each pair of trials whether they are of one sweep, and how alike configurations count in theirs.

        Args:
            a: the indices of trials; those from `n` on are of earlier sweeps.
            b: the indices of others.
            n: the number of trials of this sweep.
        """
        if self._earlier is None:
            return 1.0, 1.0
        sweeps = np.concatenate([np.zeros(n, np.int64), 1 + self._earlier.sources])
        likeness = np.concatenate([[1.0], self._earlier.likeness])
        same = sweeps[a][:, None] == sweeps[b][None, :]
        alike = likeness[sweeps[a]][:, None] * likeness[sweeps[b]][None, :]
        return same.astype(np.float64), np.where(same, 1.0, alike)

    def _read_earlier(self, earlier: EarlierCurves) -> list[tuple[int, float, float]]:
        """Returns (the place among the earlier trials, the epoch, the value) for what is read of earlier curves.

        Of each sweep the best trial and others evenly down to the worst, each at its end and at two looks before.
        """
        rows: list[tuple[int, float, float]] = []
        n_sweeps = len(earlier.likeness)
        for sweep in range(n_sweeps):
            trials = [i for i in np.flatnonzero(earlier.sources == sweep).tolist() if len(earlier.curves[i])]
            order = sorted(trials, key=lambda i: (-earlier.curves[i][-1], i))
            most = MOST_EARLIER // (3 * len(set(earlier.sources.tolist())))
            picked = {order[round(k)] for k in np.linspace(0, len(order) - 1, min(most, len(order)))}
            for i in sorted(picked):
                curve = earlier.curves[i]
                looks = [look for look in self._looks if look < len(curve)]
                read = sorted({len(curve), *looks[:1], *looks[len(looks) // 2 :][:1]})
                rows += [(i, math.log(epoch), curve[epoch - 1]) for epoch in read]
        return rows

    def _seen(self, points: np.ndarray, curves: Curves) -> _Points:
        """Returns the values that stand for the curves: of each its last one, and some looks before.

        Where that would be too many, the worst curves are only read at their ends.
        """
        before = [(len(points) + i, time, value) for i, time, value in self._read_before]
        most = MOST_POINTS - len(before)
        rows: list[tuple[int, float, float]] = []
        best_first = sorted((index for index in curves if len(curves[index])), key=lambda i: (-curves[i][-1], i))
        for index in best_first[:most]:
            curve = curves[index]
            looks = [look for look in self._looks if look < len(curve)]
            several = len(rows) + len(best_first) < most
            read = [len(curve), *looks[::-1][1::2][:3]] if several else [len(curve)]
            rows += [(index, math.log(epoch), curve[epoch - 1]) for epoch in read]
        rows = sorted(rows[:most]) + before
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        return _Points(columns[0].astype(np.int64), columns[1].astype(np.float64), columns[2].astype(np.float64))


class _Likelihood:
    """The negative logarithm of the posterior of the parameters, and its gradient."""

    def __init__(
        self,
        seen: _Points,
        points: np.ndarray,
        groups: np.ndarray,
        last: float,
        prior: tuple[np.ndarray, np.ndarray],
        of_pairs: tuple[np.ndarray | float, np.ndarray | float],
    ) -> None:
        self._values = (seen.values - seen.values.mean()) / max(float(seen.values.std()), 1e-9)
        self._typical, self._spread = prior
        n, scales = len(seen.values), len(self._typical) - len(TYPICAL)
        squares = (points[seen.trials][:, None, :] - points[seen.trials][None, :, :]) ** 2
        self._squares = np.zeros((scales, n, n))
        for group in range(scales):
            self._squares[group] = squares[:, :, groups == group].sum(-1)
        self._apart = np.abs(seen.times[:, None] - seen.times[None, :])
        self._same = (seen.trials[:, None] == seen.trials[None, :]).astype(np.float64)
        together, self._alike = of_pairs
        self._common = together * _common(self._apart)
        growth = seen.times / last - 1
        self._growth = growth[:, None] + growth[None, :]

    def __call__(self, p: np.ndarray) -> tuple[float, np.ndarray]:
        scales = np.exp(p[6:])
        r = np.sqrt(5 * np.tensordot(1 / scales**2, self._squares, 1) + 1e-12)
        r1, r2 = math.sqrt(3) * self._apart / math.exp(p[3]), math.sqrt(3) * self._apart / math.exp(p[4])
        amplitude, near = np.exp(p[5] * self._growth), _matern52(r)
        first = amplitude * math.exp(2 * p[0]) * self._alike
        second = amplitude * math.exp(2 * p[1]) * self._same
        of_configuration, own = first * near * _matern32(r1), second * _matern32(r2)
        noise = math.exp(2 * p[2])
        covariance = self._common + of_configuration + own + (noise + JITTER) * np.eye(len(self._values))
        try:
            lower = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return 1e9, np.zeros_like(p)
        inverse = np.linalg.inv(covariance)
        weights = inverse @ self._values
        w = inverse - np.outer(weights, weights)
        gradient = np.empty_like(p)
        gradient[0], gradient[1] = (w * of_configuration).sum(), (w * own).sum()
        gradient[2] = np.trace(w) * noise
        gradient[3] = 0.5 * (w * first * near * r1 * r1 * np.exp(-r1)).sum()
        gradient[4] = 0.5 * (w * second * r2 * r2 * np.exp(-r2)).sum()
        gradient[5] = 0.5 * (w * (of_configuration + own) * self._growth).sum()
        falls = w * first * _matern32(r1) * (5 / 3) * (1 + r) * np.exp(-r)
        gradient[6:] = 0.5 * np.tensordot(self._squares, falls, ([1, 2], [0, 1])) / scales**2
        z = (p - self._typical) / self._spread
        value = 0.5 * self._values @ weights + np.log(np.diag(lower)).sum() + 0.5 * (z @ z)
        return float(value), gradient + z / self._spread


def _common(apart: np.ndarray) -> np.ndarray:
    return np.asarray(COMMON**2 * np.exp(-0.5 * (apart / COMMON_SCALE) ** 2))


def _matern32(r: np.ndarray) -> np.ndarray:
    return np.asarray((1 + r) * np.exp(-r))


def _matern52(r: np.ndarray) -> np.ndarray:
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))
