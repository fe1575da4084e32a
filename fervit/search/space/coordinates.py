"""Configurations of a search space as points, for models of the space."""

from __future__ import annotations

import math

from fervit.search.space.search_space import DEFAULTS, Params, Range, SearchSpace


def coordinates(space: SearchSpace, params: Params) -> list[float]:
    """A configuration as numbers between 0 and 1; one for each value of a list that is not of numbers."""
    whole = {**DEFAULTS, **space.fixed, **params}
    point: list[float] = []
    for name, distribution in space.parameters.items():
        if isinstance(distribution, Range):
            log = distribution.log or distribution.kind == "log_uniform"
            low, high, value = (math.log(max(v, 1e-12)) if log else v for v in _ends(distribution, whole[name]))
            point.append((value - low) / max(high - low, 1e-12))
        else:
            point += [float(whole[name] == value) for value in distribution.values]
    return point


def _ends(distribution: Range, value: float) -> tuple[float, float, float]:
    return distribution.min, distribution.max, float(value)
