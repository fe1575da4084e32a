"""Optuna's samplers, within the rules of a search space."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from fervit.search.space.search_space import PAIR, Distribution, Params, Range, SearchSpace, Values

MAX_DRAWS = 100
"""Draws that may break a rule of the space before a pair of heads and embed_dim is chosen outright."""


MAX_FITS = 3
"""The same for the Gaussian process, which is fitted anew for each draw."""


class WithinRules(BaseSampler):
    """Draws from another sampler until the configuration keeps the rules of the space.

    So a pair of heads and embed_dim that cannot be built is never suggested, the parameters keep their own names and
    importance, and any sampler works. Optuna asks for all parameters at once, here, before a trial holds any of them.
    """

    def __init__(self, inner: BaseSampler, space: SearchSpace, distributions: Mapping[str, BaseDistribution]) -> None:
        self._inner, self._space, self._distributions = inner, space, dict(distributions)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters, so that Optuna asks for them together."""
        return self._distributions

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        """Draws whole configurations until one keeps the rules of the space."""
        fixed = trial.system_attrs.get("fixed_params", {})
        if search_space.keys() <= fixed.keys():
            return {}
        joint = self._inner.infer_relative_search_space(study, trial)
        for _ in range(MAX_DRAWS if self._space.search.sampler != "gp" else MAX_FITS):
            params = self._inner.sample_relative(study, trial, joint)
            for name, distribution in search_space.items():
                if name not in params and distribution.single():
                    params[name] = _only_value(distribution)
                elif name not in params:
                    params[name] = self._inner.sample_independent(study, trial, name, distribution)
            if self._space.allowed({**params, **fixed}):
                return params
        # Hardly any pair can be built: the last draw, with a pair that can.
        pairs = [pair for pair in self._space.buildable_pairs() if self._fits(pair, fixed)]
        pair = pairs[trial.number % len(pairs)]
        return {**params, **{n: v for n, v in zip(PAIR, pair, strict=True) if n in search_space}}

    @staticmethod
    def _fits(pair: tuple[int, int], fixed: Mapping[str, Any]) -> bool:
        return pair == (fixed.get("embed_dim", pair[0]), fixed.get("heads", pair[1]))

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        """Draws one parameter from the inner sampler."""
        return self._inner.sample_independent(study, trial, name, distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Tells the inner sampler that a trial begins."""
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Tells the inner sampler that a trial has ended."""
        self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Gives the inner sampler another seed."""
        self._inner.reseed_rng()


class JointTPE(TPESampler):
    """TPE over a space that all trials share, which is thus known without reading all trials again for each."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(seed=seed, warn_independent_sampling=False)
        self._joint = {name: distribution_of(d) for name, d in space.parameters.items()}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters with more than one value, all in one group."""
        if len(study.directions) > 1:  # there each parameter is drawn for itself
            return super().infer_relative_search_space(study, trial)
        return {name: distribution for name, distribution in self._joint.items() if not distribution.single()}


def _only_value(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low


def sampler_for(space: SearchSpace, number: int) -> BaseSampler:
    """Optuna's sampler, made anew for each trial with a seed of its own."""
    seed = int(np.random.default_rng([space.search.seed, number]).integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are marked experimental
        match space.search.sampler:
            case "tpe":
                if not space.when:
                    return JointTPE(space, seed)
                return TPESampler(seed=seed, group=True, warn_independent_sampling=False)
            case "qmc":  # the sequence has one seed; what stands for it in the study says how far it is
                independent = RandomSampler(seed=seed)
                return QMCSampler(
                    seed=space.search.seed,
                    scramble=True,
                    independent_sampler=independent,
                    warn_independent_sampling=False,
                    warn_asynchronous_seeding=False,
                )
            case "cmaes":
                independent = RandomSampler(seed=seed)
                return CmaEsSampler(seed=seed, independent_sampler=independent, warn_independent_sampling=False)
            case "gp":
                return GPSampler(seed=seed, warn_independent_sampling=False)
            case _:
                return RandomSampler(seed=seed)


def distribution_of(distribution: Distribution) -> BaseDistribution:
    """Optuna's name for a distribution of ours."""
    match distribution:
        case Values(values=values):
            return CategoricalDistribution(values)
        case Range(kind="int", min=low, max=high, log=log, step=step):
            return IntDistribution(int(low), int(high), log=log, step=step)
        case Range(kind=kind, min=low, max=high):
            return FloatDistribution(low, high, log=kind == "log_uniform")
