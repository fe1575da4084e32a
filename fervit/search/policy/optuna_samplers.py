"""Optuna's samplers, restricted to configurations that keep the rules of a search space."""

from __future__ import annotations

import warnings
from collections.abc import Container, Mapping
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

from fervit.search.policy.ordinal import Ordinal
from fervit.search.records.ranking import configuration
from fervit.search.space.search_space import PAIR, Distribution, Params, Range, SearchSpace, Values

MAX_DRAWS = 100
"""After this many draws that break a rule of the space, a pair of heads and embed_dim is chosen directly."""
MAX_REPETITIONS = 20
"""After this many draws of configurations that have been tried, one is trained again, with a fresh seed. TPE draws the
same one again and again where it is sure that it is the best."""


MAX_FITS = 3
"""The same limit for the Gaussian process, which is fitted anew for each draw."""


class WithinRules(BaseSampler):
    """Rejection sampling: draws from another sampler until the configuration keeps the rules of the space.

    A pair of heads and embed_dim that cannot be built is thus never suggested. The parameters keep their own names and
    importances, and any sampler can be used. Optuna asks this class for all parameters of a trial at once.
    """

    def __init__(
        self,
        inner: BaseSampler,
        space: SearchSpace,
        distributions: Mapping[str, BaseDistribution],
        view: Study,
        tried: Container[object] = (),
    ) -> None:
        self._inner, self._space, self._distributions = inner, space, dict(distributions)
        self._view, self._tried, self._ordinals = view, tried, Ordinal.of(space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns all parameters, so that Optuna asks for them together."""
        return self._distributions

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        """Draws whole configurations until one keeps the rules of the space and has not been tried."""
        fixed = trial.system_attrs.get("fixed_params", {})
        if search_space.keys() <= fixed.keys():
            return {}
        joint = self._inner.infer_relative_search_space(self._view, trial)
        params, repetitions = None, 0
        for _ in range(MAX_FITS if self._space.search.sampler == "gp" else MAX_DRAWS):
            drawn = self._draw(trial, joint, search_space)
            whole = {**drawn, **fixed}
            if self._space.allowed(whole):
                params, repetitions = drawn, repetitions + 1
                if repetitions > MAX_REPETITIONS or configuration(self._space.active(whole)) not in self._tried:
                    break
        if params is not None:
            return params
        # Hardly any pair can be built, so the last draw is combined with one of those pairs.
        pairs = [pair for pair in self._space.buildable_pairs() if self._fits(pair, fixed)]
        pair = pairs[trial.number % len(pairs)]
        return {**drawn, **{n: v for n, v in zip(PAIR, pair, strict=True) if n in search_space}}

    def _draw(
        self, trial: FrozenTrial, joint: dict[str, BaseDistribution], search_space: dict[str, BaseDistribution]
    ) -> Params:
        """Draws a configuration from the inner sampler, which sees lists of numbers as ordinals."""
        params = self._inner.sample_relative(self._view, trial, joint)
        for name, distribution in search_space.items():
            if name not in params and distribution.single():
                params[name] = _only_value(distribution)
            elif name not in params:
                params[name] = self.sample_independent(self._view, trial, name, distribution)
            elif name in self._ordinals:
                params[name] = self._ordinals[name].values[params[name]]
        return params

    @staticmethod
    def _fits(pair: tuple[int, int], fixed: Mapping[str, Any]) -> bool:
        return pair == (fixed.get("embed_dim", pair[0]), fixed.get("heads", pair[1]))

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        """Draws one parameter from the inner sampler."""
        if name not in self._ordinals:
            return self._inner.sample_independent(self._view, trial, name, distribution)
        ordinal = self._ordinals[name]
        return ordinal.values[self._inner.sample_independent(self._view, trial, name, ordinal.distribution)]

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Tells the inner sampler that a trial begins."""
        self._inner.before_trial(self._view, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Tells the inner sampler that a trial has ended."""
        self._inner.after_trial(self._view, trial, state, values)

    def reseed_rng(self) -> None:
        """Gives the inner sampler another seed."""
        self._inner.reseed_rng()


class JointTPE(TPESampler):
    """TPE over parameters that all trials have in common, so that it need not read all trials to find these."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(seed=seed, warn_independent_sampling=False)
        ordinals = Ordinal.of(space)
        self._joint = {
            name: ordinals[name].distribution if name in ordinals else distribution_of(d)
            for name, d in space.parameters.items()
        }

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns the parameters with more than one value, which are drawn together."""
        if len(study.directions) > 1:  # with two objectives, TPE draws each parameter on its own
            return super().infer_relative_search_space(study, trial)
        return {name: distribution for name, distribution in self._joint.items() if not distribution.single()}


def _only_value(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low


def sampler_for(space: SearchSpace, number: int) -> BaseSampler:
    """Makes Optuna's sampler for the trial of this number, with a seed of its own."""
    seed = int(np.random.default_rng([space.search.seed, number]).integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are marked experimental
        match space.search.sampler:
            case "tpe":
                if not space.when:
                    return JointTPE(space, seed)
                return TPESampler(seed=seed, group=True, warn_independent_sampling=False)
            case "qmc":  # the sequence has one seed for all trials; the study stores its position
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
    """Converts a distribution of the search space to Optuna's class."""
    match distribution:
        case Values(values=values):
            return CategoricalDistribution(values)
        case Range(kind="int", min=low, max=high, log=log, step=step):
            return IntDistribution(int(low), int(high), log=log, step=step)
        case Range(kind=kind, min=low, max=high):
            return FloatDistribution(low, high, log=kind == "log_uniform")
