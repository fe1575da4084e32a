"""Which configuration comes next: Optuna behind ask and tell. Knows nothing of Ray or of processes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from fervit.search.space import Distribution, Range, SearchSpace, Values, warm_start_params

MAX_DRAWS = 100
"""Draws that may break a rule of the space before a pair of heads and embed_dim is chosen outright."""


class Outcome(Enum):
    """How a trial ended, as the sampler is told."""

    FINISHED = TrialState.COMPLETE
    STOPPED = TrialState.PRUNED
    FAILED = TrialState.FAIL


class Suggestion(NamedTuple):
    number: int
    params: dict[str, Any]


class SpaceSampler:
    """Asks Optuna for configurations of a space and tells it what became of them.

    Args:
        space: the space.
        journal: Optuna's journal file, which `optuna-dashboard` reads live; None keeps the study in memory.
    """

    def __init__(self, space: SearchSpace, journal: Path | None = None) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        self._space = space
        self._distributions = {name: _distribution(d) for name, d in space.parameters.items()}
        storage = InMemoryStorage() if journal is None else JournalStorage(JournalFileBackend(str(journal)))
        self._study = optuna.create_study(
            storage=storage,
            sampler=_WithinRules(_sampler(space), space, self._distributions),
            direction=space.metric.goal,
            study_name=space.name,
        )
        self._running: dict[int, optuna.Trial] = {}
        for params in space.search.warm_start:
            self._study.enqueue_trial(warm_start_params(space, params))

    def ask(self) -> Suggestion:
        """The next configuration; its number counts from 0."""
        trial = self._study.ask(self._distributions)
        self._running[trial.number] = trial
        return Suggestion(trial.number, dict(trial.params))

    def report(self, number: int, epoch: int, value: float) -> None:
        """The best value that a running trial has reached by an epoch."""
        self._running[number].report(value, epoch)

    def tell(self, number: int, outcome: Outcome, value: float | None = None) -> None:
        """How a trial ended. A FINISHED one has a value; of a STOPPED one Optuna takes the last that was reported."""
        trial = self._running.pop(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.tell(trial, value if outcome is Outcome.FINISHED else None, outcome.value)


class _WithinRules(BaseSampler):
    """Draws from another sampler until the configuration keeps the rules of the space.

    So a pair of heads and embed_dim that cannot be built is never suggested, the parameters keep their own names and
    importance, and any sampler works. Optuna asks for all parameters at once, here, before a trial holds any of them.
    """

    def __init__(self, inner: BaseSampler, space: SearchSpace, distributions: Mapping[str, BaseDistribution]) -> None:
        self._inner, self._space, self._distributions = inner, space, dict(distributions)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        fixed = trial.system_attrs.get("fixed_params", {})
        joint = self._inner.infer_relative_search_space(study, trial)
        for _ in range(MAX_DRAWS):
            params = self._inner.sample_relative(study, trial, joint)
            for name, distribution in search_space.items():
                if name not in params:
                    params[name] = self._inner.sample_independent(study, trial, name, distribution)
            if self._space.allowed({**params, **fixed}):
                return params
        # Hardly any pair can be built: the last draw, with a pair that can.
        pairs = [pair for pair in self._space.buildable_pairs() if self._fits(pair, fixed)]
        pair = pairs[trial.number % len(pairs)]
        return {**params, **{n: v for n, v in zip(("embed_dim", "heads"), pair, strict=True) if n in search_space}}

    @staticmethod
    def _fits(pair: tuple[int, int], fixed: Mapping[str, Any]) -> bool:
        return pair == (fixed.get("embed_dim", pair[0]), fixed.get("heads", pair[1]))

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        return self._inner.sample_independent(study, trial, name, distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._inner.reseed_rng()


def _sampler(space: SearchSpace) -> BaseSampler:
    seed = space.search.seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # QMC is marked experimental
        kinds = {"tpe": TPESampler, "random": RandomSampler, "qmc": QMCSampler}
        sampler: BaseSampler = kinds[space.search.sampler](seed=seed)
    return sampler


def _distribution(distribution: Distribution) -> BaseDistribution:
    match distribution:
        case Values(values=values):
            return CategoricalDistribution(values)
        case Range(kind="int", min=low, max=high, log=log, step=step):
            return IntDistribution(int(low), int(high), log=log, step=step)
        case Range(kind=kind, min=low, max=high):
            return FloatDistribution(low, high, log=kind == "log_uniform")
