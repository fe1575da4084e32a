"""The expected improvement of the next trial, by a Gaussian process that is fitted to the trials so far.

This is the criterion of Jones, Schonlau and Welch (1998), "Efficient global optimization of expensive black-box
functions". It is maximised over random configurations of the space. The variance between seeds is the observation noise
of the process.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from fervit.search.records.ranking import with_best
from fervit.search.records.record import TrialRecord
from fervit.search.space.coordinates import coordinates
from fervit.search.space.search_space import Params, Range, SearchSpace

CANDIDATES = 1000
MAX_TRIALS = 200
"""The process is fitted to at most this many of the best trials, since its time grows with their number cubed."""


def expected_improvement(space: SearchSpace, records: Sequence[TrialRecord], noise: float) -> float:
    """Returns the largest expected improvement that a next trial can have, in units of the metric.

    It is infinite while there are fewer than two trials to learn from.

    Args:
        space: the search space.
        records: the trials that have ended, all with the seed of the space.
        noise: the standard deviation of the metric over seeds.
    """
    trials = with_best(records, space.metric)[:MAX_TRIALS]
    if len(trials) < 2:
        return math.inf
    values = np.array([space.metric.sign * space.metric.value(best) for _, best in trials])
    points = np.array([coordinates(space, record.params) for record, _ in trials])
    spread = max(float(values.std()), 1e-12)
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(np.full(points.shape[1], 0.5), (0.05, 20.0), nu=2.5)
    process = GaussianProcessRegressor(kernel, alpha=max((noise / spread) ** 2, 1e-6), random_state=0)
    rng = np.random.default_rng([space.search.seed, len(trials)])
    candidates = np.array([coordinates(space, _draw(space, rng)) for _ in range(CANDIDATES)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a length scale at its bound does no harm here
        process.fit(points, (values - values.mean()) / spread)
        mean, deviation = process.predict(candidates, return_std=True)
        reached = float(process.predict(points).max())  # the best mean, which leaves out the luck of a seed
    deviation = np.maximum(deviation, 1e-12)
    z = (mean - reached) / deviation
    improvement = (mean - reached) * norm.cdf(z) + deviation * norm.pdf(z)
    return float(improvement.max() * spread)


def _draw(space: SearchSpace, rng: np.random.Generator) -> Params:
    """Draws a random configuration whose model can be built."""
    while True:
        params: Params = {}
        for name, distribution in space.parameters.items():
            if not space.is_active(name, params):
                continue
            options = distribution.options()
            if options is not None:
                params[name] = options[int(rng.integers(len(options)))]
            elif isinstance(distribution, Range):
                log = distribution.kind == "log_uniform"
                low, high = (math.log(v) if log else v for v in (distribution.min, distribution.max))
                drawn = float(rng.uniform(low, high))
                params[name] = math.exp(drawn) if log else drawn
        if space.allowed(params):
            return params
