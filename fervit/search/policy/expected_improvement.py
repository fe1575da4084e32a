"""What one more trial can be expected to gain: the expected improvement of a Gaussian process over the trials so far.

The criterion of Jones, Schonlau and Welch (1998), "Efficient global optimization of expensive black-box functions", at
the best of many random configurations of the space. The noise of the seed is the process's.
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
"""The process is fitted to so many trials at most, the best; fitting takes their number to the third power."""


def expected_gain(space: SearchSpace, records: Sequence[TrialRecord], noise: float) -> float:
    """Of the best next trial, in units of the metric; infinite while there are fewer than two trials to go by.

    Args:
        space: what is searched.
        records: the trials that have ended, each with the space's own seed.
        noise: standard deviation of the metric over seeds.
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
        warnings.simplefilter("ignore")  # a length scale at its bound is no matter here
        process.fit(points, (values - values.mean()) / spread)
        mean, deviation = process.predict(candidates, return_std=True)
        reached = float(process.predict(points).max())  # what the best is worth without its luck
    deviation = np.maximum(deviation, 1e-12)
    z = (mean - reached) / deviation
    gain = (mean - reached) * norm.cdf(z) + deviation * norm.pdf(z)
    return float(gain.max() * spread)


def _draw(space: SearchSpace, rng: np.random.Generator) -> Params:
    """A random configuration that can be built."""
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
