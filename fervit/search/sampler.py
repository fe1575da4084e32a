"""Which configuration comes next: Optuna behind ask and tell. Knows nothing of Ray or of processes."""

from __future__ import annotations

import heapq
import json
import logging
import warnings
from collections.abc import Container, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from fervit.search.journal import drop_torn_line
from fervit.search.space import PAIR, Distribution, Range, SearchSpace, Values
from fervit.search.space_file import warm_start_params

BEST_SEEN, LATEST_SEEN = 50, 200
"""Trials that TPE and the Gaussian process go by."""
MAX_DRAWS = 100
"""Draws that may break a rule of the space before a pair of heads and embed_dim is chosen outright."""
MAX_FITS = 3
"""The same for the Gaussian process, which is fitted anew for each draw."""


class Outcome(Enum):
    """How a trial ended, as the sampler is told."""

    FINISHED = TrialState.COMPLETE
    STOPPED = TrialState.PRUNED
    FAILED = TrialState.FAIL
    INFEASIBLE = "infeasible"
    """It can never run: out of memory. Optuna knows such a trial by a constraint that it breaks."""


class Suggestion(NamedTuple):
    number: int
    params: dict[str, Any]


class SpaceSampler:
    """Asks Optuna for configurations of a space and tells it what became of them.

    What is suggested follows from the seed, the number of the trial and what the study holds, so that a sampler over
    the same journal goes on as if it had never been away.

    Args:
        space: the space.
        journal: Optuna's journal file, which `optuna-dashboard` reads live; None keeps the study in memory.
    """

    def __init__(self, space: SearchSpace, journal: Path | None = None) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        self._space = space
        self._distributions = {name: distribution_of(d) for name, d in space.parameters.items()}
        storage = InMemoryStorage() if journal is None else JournalStorage(_OneWriter(journal))
        directions = [space.metric.goal] + (["minimize"] if space.metric.against else [])
        optuna.create_study(storage=storage, directions=directions, study_name=space.name, load_if_exists=True)
        self._study = _BoundedStudy(space, storage)
        self._grid: list[dict[str, Any]] = []
        if space.search.sampler == "grid":
            warm = [warm_start_params(space, params) for params in space.search.warm_start]
            self._grid = [params for params in space.configurations() if params not in warm]
            np.random.default_rng(space.search.seed).shuffle(self._grid)
        trials = self._study.get_trials(deepcopy=False)
        self._next = sum(trial.state != TrialState.WAITING for trial in trials)
        self._enqueued = len(trials) > self._next
        self._reported = {trial.number: trial.last_step or 0 for trial in trials}
        self._running: dict[int, Trial] = {}
        self._begun: list[int] = []
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                chance = RandomSampler(seed=space.search.seed + trial.number)  # for what a kill left unsaid
                self._study.sampler = _WithinRules(chance, space, self._distributions)
                self._running[trial.number] = Trial(self._study, trial._trial_id)
                self._begun.append(trial.number)

    @property
    def begun(self) -> list[Suggestion]:
        """Trials that an earlier process asked for and whose end it did not tell."""
        return [Suggestion(number, self._suggest(self._running[number])) for number in self._begun]

    @property
    def size(self) -> float:
        """How many trials there can be: as many as the grid has, or no end of them."""
        if self._space.search.sampler != "grid":
            return float("inf")
        return len(self._space.search.warm_start) + len(self._grid)

    def ask(self) -> Suggestion:
        """The next configuration; its number counts from 0."""
        number = self._next
        warm_starts = self._space.search.warm_start
        if not self._enqueued:  # a process killed here left it in the queue
            if number < len(warm_starts):
                self._study.enqueue_trial(warm_start_params(self._space, warm_starts[number]))
            elif self._grid:
                self._study.enqueue_trial(self._grid[number - len(warm_starts)])
        self._enqueued = False
        self._study.sampler = _WithinRules(_sampler(self._space, number), self._space, self._distributions)
        trial = self._study.ask()
        self._next += 1
        self._running[trial.number] = trial
        return Suggestion(trial.number, self._suggest(trial))

    def adopt(self, params: Mapping[str, Any]) -> None:
        """Takes up a configuration that the study has lost, as the next trial."""
        self._study.enqueue_trial(dict(params))
        self._enqueued = True
        self.ask()

    @property
    def asked(self) -> int:
        """How many configurations have been asked for."""
        return self._next

    def report(self, number: int, epoch: int, value: float) -> None:
        """The best value that a running trial has reached by an epoch; an epoch told before is passed over."""
        if number in self._running and epoch > self._reported.get(number, 0) and not self._space.metric.against:
            self._running[number].report(value, epoch)
            self._reported[number] = epoch

    def tell(self, number: int, outcome: Outcome, value: float | None = None, cost: float | None = None) -> None:
        """How a trial ended; one that was told before is passed over.

        A FINISHED one has a value, and a cost where the metric is weighed against one; of a STOPPED one Optuna takes
        the last that was reported.
        """
        trial = self._running.pop(number, None)
        if trial is None:
            return
        state, values = outcome.value, None
        if outcome is Outcome.INFEASIBLE:
            trial.set_constraint("memory", 1.0)
            state = TrialState.PRUNED
        elif outcome is Outcome.FINISHED:
            assert value is not None
            values = [value] if cost is None else [value, cost]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.tell(trial, values, state)
        if values is not None:
            self._study.note(number, values[0])

    def _suggest(self, trial: Trial) -> dict[str, Any]:
        """The values of the parameters whose condition holds; those that the trial has already stay."""
        params: dict[str, Any] = {}
        for name, distribution in self._distributions.items():
            if not self._space.is_active(name, params):
                continue
            match distribution:
                case FloatDistribution():
                    params[name] = trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
                case IntDistribution():
                    low, high, step = distribution.low, distribution.high, distribution.step
                    params[name] = trial.suggest_int(name, low, high, step=step, log=distribution.log)
                case CategoricalDistribution():
                    params[name] = trial.suggest_categorical(name, distribution.choices)
        return params


class _OneWriter(JournalFileBackend):
    """Optuna's journal file as its only writer writes it: without locking, and without waiting for the disk.

    What is written outlives the process at once; a power cut may take the tail, which the sweep's own journal brings
    back.
    """

    def __init__(self, path: Path) -> None:
        drop_torn_line(path)  # over which Optuna would stumble
        super().__init__(str(path))
        self._file = path.open("ab", buffering=0)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._file.write("".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode())


class _BoundedStudy(Study):
    """A study of which samplers that read all trials for each new one see the best and the latest: TPE weighs the
    latest most, and what a suggestion costs stays the same however long the sweep is."""

    def __init__(self, space: SearchSpace, storage: BaseStorage) -> None:
        super().__init__(space.name, storage)
        self._bounded = space.search.sampler in ("tpe", "gp") and space.metric.against is None
        self._sign = 1 if space.metric.goal == "maximize" else -1
        self._best: list[tuple[float, int]] = []
        """A heap of (value, the higher the better; number), the worst of the best first."""
        for trial in storage.get_all_trials(self._study_id, deepcopy=False):
            if trial.state == TrialState.COMPLETE:
                self.note(trial.number, trial.values[0])

    def note(self, number: int, value: float) -> None:
        """A trial has finished with a value."""
        if len(self._best) < BEST_SEEN:
            heapq.heappush(self._best, (self._sign * value, number))
        else:
            heapq.heappushpop(self._best, (self._sign * value, number))

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        if deepcopy or not self._bounded:
            return super()._get_trials(deepcopy, states, use_cache)
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        latest = max(0, len(trials) - LATEST_SEEN)
        seen = [trials[number] for number in sorted(number for _, number in self._best) if number < latest]
        return [trial for trial in seen + trials[latest:] if states is None or trial.state in states]


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
        return self._inner.sample_independent(study, trial, name, distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._inner.reseed_rng()


class _JointTPE(TPESampler):
    """TPE over a space that all trials share, which is thus known without reading all trials again for each."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(seed=seed, warn_independent_sampling=False)
        self._joint = {name: distribution_of(d) for name, d in space.parameters.items()}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if len(study.directions) > 1:  # there each parameter is drawn for itself
            return super().infer_relative_search_space(study, trial)
        return {name: distribution for name, distribution in self._joint.items() if not distribution.single()}


def _only_value(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low


def _sampler(space: SearchSpace, number: int) -> BaseSampler:
    """Optuna's sampler, made anew for each trial with a seed of its own."""
    seed = int(np.random.default_rng([space.search.seed, number]).integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are marked experimental
        match space.search.sampler:
            case "tpe":
                if not space.when:
                    return _JointTPE(space, seed)
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
