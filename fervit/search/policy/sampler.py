"""Suggests the next configuration with Optuna's ask-and-tell interface. Does not use Ray."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from fervit.errors import JobError
from fervit.io.disk import remove
from fervit.search.policy.optuna_samplers import (
    WithinRules,
    distribution_of,
    sampler_for,
)
from fervit.search.policy.optuna_study import SamplerView, SingleWriterJournal
from fervit.search.records.events import Event, TrialEnded, TrialStarted
from fervit.search.records.history import History
from fervit.search.records.ranking import best_values, configuration
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import Params, SearchSpace
from fervit.search.space.space_file import warm_start_params


class Outcome(Enum):
    """How a trial ended, in the terms of the sampler."""

    FINISHED = TrialState.COMPLETE
    STOPPED = TrialState.PRUNED
    FAILED = TrialState.FAIL
    INFEASIBLE = "infeasible"
    """The configuration diverges or needs more memory than there is. Optuna sees such a trial as one that violates a
    constraint."""


class Suggestion(NamedTuple):
    """A configuration to try."""

    number: int
    params: Params


WITH_STATE = ("cmaes", "qmc")
"""The samplers of Optuna that store a state of their own in the study."""


def outcome_of(record: TrialRecord) -> Outcome:
    """Returns the outcome of a trial that has ended."""
    if record.cut or record.never_begun:
        return Outcome.FAILED  # which Optuna's samplers leave out
    if record.failure is not None:
        return Outcome.INFEASIBLE if record.failure.infeasible else Outcome.FAILED
    return Outcome.FINISHED if record.state == "finished" else Outcome.STOPPED


def state_of(outcome: Outcome) -> TrialState:
    """Returns Optuna's state for a trial with this outcome."""
    return TrialState.PRUNED if outcome is Outcome.INFEASIBLE else outcome.value


class SpaceSampler:
    """Suggests configurations of a search space, and reports their results to Optuna.

    A suggestion depends only on the seed, the number of the trial and the trials of the study. A resumed sweep with the
    same events therefore gets the same suggestions as one that was never interrupted.

    Args:
        space: the search space.
        path: the path of Optuna's journal file, which `optuna-dashboard` can show; None keeps the study in memory.
        events: the events of the sweep's own journal. If a kill or a power cut left the study's file in another state,
            it is written anew from the events. None uses the file as it is.
        records: the trials and reruns that these events give, where they are known; None to read the events.
        taken: how many of the trials have configurations that users added.
    """

    def __init__(
        self,
        space: SearchSpace,
        path: Path | None = None,
        events: Iterable[Event] | None = None,
        records: Iterable[TrialRecord] | None = None,
        *,
        taken: int = 0,
    ) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        self._space, self._path, self._taken = space, path, taken
        self._distributions = {name: distribution_of(d) for name, d in space.parameters.items()}
        self._space_size = space.size()
        self._grid: list[Params] = []
        if space.search.sampler == "grid":
            warm = [warm_start_params(space, params) for params in space.search.warm_start]
            self._grid = [params for params in space.configurations() if params not in warm]
            np.random.default_rng(space.search.seed).shuffle(self._grid)
        if events is not None and records is None:
            records = History(events).records.values()
        if not self._open() or (records is not None and not self._agrees_with(records)):
            self._make_again(() if events is None else events)

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials of the study, sorted by number."""
        return self._study.get_trials(deepcopy=False)

    @property
    def size(self) -> float:
        """The largest number of trials: that of the grid with its warm starts, or infinity for other samplers."""
        if self._space.search.sampler != "grid":
            return float("inf")
        return len(self._space.search.warm_start) + len(self._grid)

    def ask(self) -> Suggestion:
        """Returns the next configuration. Its number counts from 0."""
        number = self._next
        warm_starts = self._space.search.warm_start
        if number < len(warm_starts):
            self._study.enqueue_trial(warm_start_params(self._space, warm_starts[number]))
        elif self._grid:
            self._study.enqueue_trial(self._of_grid(number - len(warm_starts) - self._taken))
        return self._begin(sampler_for(self._space, number))

    def take(self, params: Params) -> Suggestion:
        """Takes a configuration of the user as the next one, with the sampler's values for what it leaves open."""
        self._study.enqueue_trial(params)
        self._taken += 1
        return self._begin(sampler_for(self._space, self._next))

    def report(self, number: int, epoch: int, value: float) -> None:
        """Reports the best value that a running trial has reached by an epoch.

        A repeated report of an epoch replaces the earlier one: a GPU may give another value where the epoch was trained
        again after its process died.
        """
        if number not in self._running or self._space.metric.against:
            return
        trial = self._running[number]
        if epoch > self._reported.get(number, 0):
            trial.report(value, epoch)
            self._reported[number] = epoch
        elif trial.storage.get_trial(trial._trial_id).intermediate_values.get(epoch) != value:
            trial.storage.set_trial_intermediate_value(trial._trial_id, epoch, value)

    def tell(self, number: int, outcome: Outcome, value: float | None = None, cost: float | None = None) -> None:
        """Reports how a trial ended. A repeated call for the same trial is ignored.

        Args:
            number: the number of the trial.
            outcome: how the trial ended.
            value: the value of a finished trial. For a stopped trial, Optuna takes the last reported value.
            cost: the value of the second objective of a finished trial; None if the metric has no `against`.
        """
        trial = self._running.pop(number, None)
        if trial is None:
            return
        state, values = state_of(outcome), None
        if outcome is Outcome.INFEASIBLE:
            trial.set_constraint("infeasible", 1.0)
        elif outcome is Outcome.FINISHED:
            assert value is not None
            values = [value] if cost is None else [value, cost]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.tell(trial, values, state)
        if values is not None:
            self._view.note(number, values[0])

    def _of_grid(self, index: int) -> Params:
        """Returns a configuration of the grid. Past its end, it is the first that a damaged journal has lost."""
        if index < len(self._grid):
            return self._grid[index]
        tried = [trial.params for trial in self.trials]
        return next((params for params in self._grid if params not in tried), self._grid[-1])

    def _pass_over(self) -> None:
        """Takes the next number for a trial whose start a damaged journal has lost."""
        trial = self._study.ask()
        self._study.tell(trial, state=TrialState.FAIL)
        self._next += 1

    def _begin(self, sampler: BaseSampler) -> Suggestion:
        tried = self._tried if len(self._tried) < self._space_size else ()
        self._study.sampler = WithinRules(sampler, self._space, self._distributions, self._view, tried)
        trial = self._study.ask()
        self._next += 1
        self._running[trial.number] = trial
        params = self._suggest(trial)
        self._tried.add(configuration(params))
        return Suggestion(trial.number, params)

    def _open(self) -> bool:
        """Opens the study or creates an empty one, and returns False if its file is damaged."""
        space = self._space
        directions = [space.metric.goal] + (["minimize"] if space.metric.against else [])
        try:
            storage = InMemoryStorage() if self._path is None else JournalStorage(SingleWriterJournal(self._path))
            optuna.create_study(storage=storage, directions=directions, study_name=space.name, load_if_exists=True)
            self._study = optuna.Study(space.name, storage)
            self._view = SamplerView(space, storage)
            trials = self.trials
        except Exception:  # whatever is wrong with the file, it can be written anew
            return False
        self._next = len(trials)
        self._tried = {configuration(trial.params) for trial in trials}
        self._reported = {trial.number: trial.last_step or 0 for trial in trials}
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        self._running = {trial.number: Trial(self._study, trial._trial_id) for trial in running}
        return True

    def _agrees_with(self, records: Iterable[TrialRecord]) -> bool:
        """Returns whether the study and the journal have the same trials, parameters, reports and outcomes."""
        records = [record for record in records if record.purpose == "search"]
        numbers = {record.number for record in records}
        trials, metric = self.trials, self._space.metric
        lost = [trial for trial in trials if trial.number not in numbers]
        trials = [trial for trial in trials if trial.number in numbers]
        if len(trials) != len(records) or any(
            trial.state != TrialState.FAIL or trial.params or trial.number > max(numbers, default=-1) for trial in lost
        ):
            return False
        for trial, record in zip(trials, sorted(records, key=lambda record: record.number), strict=True):
            state = TrialState.RUNNING if record.state == "running" else state_of(outcome_of(record))
            same = trial.number == record.number and trial.params == record.params and trial.state == state
            if same and not metric.against:
                same = trial.intermediate_values == dict(best_values(record, metric))
            if not same or (state == TrialState.COMPLETE and trial.values[0] != record.best_value(metric)):
                return False
        return True

    def _make_again(self, events: Iterable[Event]) -> None:
        """Writes the study anew from the events of the sweep's journal.

        Samplers with a state of their own are asked again in the same order, which restores their state.
        """
        again = self._space.search.sampler in WITH_STATE
        while not self._refill(events, ask_again=again):
            again = False  # another version of Optuna suggests other values; the recorded ones are kept

    def _refill(self, events: Iterable[Event], *, ask_again: bool) -> bool:
        """Fills an empty study from events; returns False if the sampler suggests other parameters than recorded."""
        if self._path is not None:
            remove(self._path)
        if not self._open():
            raise JobError(f"{self._path}: Optuna cannot write its journal there; is the disk full?")
        history, metric = History(), self._space.metric
        for event in events:
            record = history.apply(event)
            if record is None or record.purpose != "search":
                continue
            if isinstance(event, TrialStarted):
                while self._next < event.number:
                    self._pass_over()
                if ask_again and self.ask().params != event.params:
                    return False
                if not ask_again:
                    self._study.enqueue_trial(event.params)
                    self._begin(RandomSampler(seed=self._space.search.seed + event.number))
            elif isinstance(event, TrialEnded) and not event.cut:  # what was cut may go on
                for epoch, value in best_values(record, metric):
                    self.report(record.number, epoch, value)
                self.tell(record.number, outcome_of(record), record.best_value(metric), record.cost)
        for record in history.records.values():
            if record.purpose == "search" and record.state == "running":
                for epoch, value in best_values(record, metric):
                    self.report(record.number, epoch, value)
            elif record.purpose == "search" and record.cut:
                for epoch, value in best_values(record, metric):
                    self.report(record.number, epoch, value)
                self.tell(record.number, outcome_of(record))
        return True

    def _suggest(self, trial: Trial) -> Params:
        """Returns values for the parameters whose conditions hold. Values that the trial already has are kept."""
        params: Params = {}
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
