"""Estimates the importance of each hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from fervit.search.policy.optuna_samplers import distribution_of
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import SearchSpace

TREES = 24
FEWEST, MOST = 8, 1000
"""The number of trials below which an importance would be a guess, and the number that it is computed from at most,
since fANOVA takes a hundred times as long for ten times the trials."""


def importances(records: Sequence[TrialRecord], space: SearchSpace) -> dict[str, float]:
    """Computes the share of the variance of the trials' best values that each hyperparameter explains.

    It is Optuna's fANOVA (Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter
    importance", ICML 2014) over all trials that have an epoch and did not fail, including stopped ones.
    Hyperparameters that are searched only under a condition are left out. Of more than `MOST` trials, so many are
    taken, evenly over the sweep.

    Returns:
        The shares, which sum to 1, the largest first. Empty if there are too few trials or all values are equal.
    """
    names = [name for name in space.parameters if name not in space.when]
    distributions = {name: distribution_of(space.parameters[name]) for name in names}
    distributions = {name: one for name, one in distributions.items() if not one.single()}
    points = []
    for record in records:
        value = record.best_value(space.metric)
        if value is not None and record.state != "failed":
            points.append((record.params, value))
    if len(points) < FEWEST or not distributions or np.ptp([value for _, value in points]) == 0:
        return {}
    if len(points) > MOST:
        points = [points[round(k)] for k in np.linspace(0, len(points) - 1, MOST)]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=space.metric.goal)
    for params, value in points:
        if math.isfinite(value):
            study.add_trial(_trial(params, value, distributions))
    found = get_param_importances(
        study, evaluator=FanovaImportanceEvaluator(n_trees=TREES, seed=0), params=list(distributions)
    )
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _trial(
    params: Mapping[str, object], value: float, distributions: Mapping[str, BaseDistribution]
) -> optuna.trial.FrozenTrial:
    kept = {name: params[name] for name in distributions}
    for name, one in distributions.items():  # YAML may say 1 for 1.0
        if isinstance(one, CategoricalDistribution):
            kept[name] = next(choice for choice in one.choices if choice == params[name])
    return optuna.trial.create_trial(params=kept, distributions=dict(distributions), value=value)
