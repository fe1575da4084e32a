"""Which configuration comes next: Optuna behind ask and tell. Knows nothing of Ray or of processes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.trial import Trial, TrialState

from fervit.search.policy.optuna_samplers import (
    WithinRules,
    distribution_of,
    sampler_for,
)
from fervit.search.policy.optuna_study import BoundedStudy, SingleWriterJournal
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import warm_start_params


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
        storage = InMemoryStorage() if journal is None else JournalStorage(SingleWriterJournal(journal))
        directions = [space.metric.goal] + (["minimize"] if space.metric.against else [])
        optuna.create_study(storage=storage, directions=directions, study_name=space.name, load_if_exists=True)
        self._study = BoundedStudy(space, storage)
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
                self._study.sampler = WithinRules(chance, space, self._distributions)
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
        self._study.sampler = WithinRules(sampler_for(self._space, number), self._space, self._distributions)
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
