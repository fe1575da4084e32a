"""Another sampler or scheduler on the curves of a sweep that has been run: what it would have found, without training.

A configuration that is asked for gets the curve of the nearest recorded one that has not been given away yet: to ask
for the same again is to see another draw of its noise, as in a real sweep. The replay ends when its budget is spent or
all curves are given away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from fervit.errors import UserError
from fervit.search.ledger import Ledger, Observer
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import Outcome, SpaceSampler
from fervit.search.policy.sources import SearchSource
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.history import History
from fervit.search.records.journal import JournalInMemory, read_journal
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.simulated import Curve, VirtualClock, run_simulated
from fervit.search.space.coordinates import coordinates
from fervit.search.space.search_space import Params, SearchSpace
from fervit.search.space.settings import Budget, Confirm
from fervit.search.space.space_file import check_search

Told = Literal["fervit", "optunasearch"]
"""What the sampler hears: of fervit, each epoch's best value so far, and PRUNED for what was stopped; of Ray's
OptunaSearch, each epoch's value but the last, and COMPLETE with the last value for all."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The curves of a sweep's trials that ran to their end."""

    space: SearchSpace
    trials: list[TrialRecord]
    points: np.ndarray
    """float64 [trials, coordinates]: the configurations as `gain.coordinates` writes them."""
    left_out: int
    """Trials that were stopped or failed, whose curves say too little."""

    @property
    def epochs(self) -> int:
        """The epochs of all curves together."""
        return sum(len(record.epochs) for record in self.trials)

    def nearest(self, params: Params, given: Sequence[int]) -> int:
        """The recorded trial nearest to `params` but for those that are given away."""
        distances = ((self.points - np.array(coordinates(self.space, params))) ** 2).sum(axis=1)
        distances[list(given)] = np.inf
        return int(distances.argmin())


def read_recording(folder: Path) -> Recording:
    """The recording in a sweep's folder.

    Raises:
        UserError: there is none, or fewer than two of its trials ran to their end.
    """
    files = SweepFolder(folder)
    if not (files.space.is_file() and files.journal.is_file()):
        raise UserError(f"{folder}: holds no {files.space.name} and {files.journal.name}; give the folder of a sweep")
    space, records = files.read_space(), History(read_journal(files.journal)).records.values()
    searched = [record for record in records if record.purpose == "search"]
    whole = [record for record in searched if record.state == "finished"]
    if len(whole) < 2:
        raise UserError(
            f"{folder}: {len(whole)} of {len(searched)} trials ran to their end; record a sweep with --set "
            "early_stopping.scheduler=none"
        )
    points = np.array([coordinates(space, record.params) for record in whole])
    return Recording(space=space, trials=whole, points=points, left_out=len(searched) - len(whole))


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What one replay came to."""

    best: float
    """Value of the metric."""
    trials: int
    stopped: int
    epochs: int


def replay(
    recording: Recording,
    *,
    sampler: str,
    scheduler: str,
    seed: int,
    epochs: int,
    slots: int = 2,
    told: Told = "fervit",
) -> Replayed:
    """Searches the recording until so many epochs are spent.

    Args:
        recording: the curves.
        sampler: as in a space file.
        scheduler: as in a space file; its epochs are those of the recording's space.
        seed: of the sampler.
        epochs: the budget, over all trials.
        slots: trials at once.
        told: what the sampler hears of stopped trials.

    Raises:
        UserError: the sampler cannot search this space.
    """
    space = _space_of_replay(recording, sampler, scheduler, seed)
    clock, curves, meter = VirtualClock(), _Curves(recording), _Meter(epochs)
    rule = stopping_rule(space.early_stopping, space.metric)
    ledger = Ledger(space, JournalInMemory(clock), rule, [meter], clock=clock)
    source_of = SearchSource if told == "fervit" else partial(_AsOptunaSearch, curves)
    ledger.use(source_of(space, SpaceSampler(space)))
    run_simulated(ledger, curves, clock, slots=slots, is_over=meter.is_over)
    begun = [record for record in ledger.records if record.epochs]
    values = [space.metric.sign * value for record in begun if (value := record.best_value(space.metric)) is not None]
    return Replayed(best=space.metric.sign * max(values), trials=len(begun), stopped=meter.stopped, epochs=meter.epochs)


class _Meter(Observer):
    """Counts the epochs of a replay, up to its budget, and the trials that its rule stopped."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self.epochs = self.stopped = 0

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        self.epochs += 1

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        self.stopped += record.state == "stopped" and ledger.was_stopped(record.name)

    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return self.epochs >= self._budget


def _space_of_replay(recording: Recording, sampler: str, scheduler: str, seed: int) -> SearchSpace:
    """The recording's space with another sampler and scheduler, as many trials as there are curves, and no budget."""
    given = recording.space
    search = replace(
        given.search,
        sampler=sampler,  # type: ignore[arg-type]
        seed=seed,
        warm_start=[],
        trials=len(recording.trials),
    )
    stopping = replace(given.early_stopping, scheduler=scheduler)  # type: ignore[arg-type]
    metric = replace(given.metric, against=None)
    space = replace(given, metric=metric, search=search, early_stopping=stopping, budget=Budget(), confirm=Confirm())
    check_search(space, f"replay with {sampler}")
    return space


class _Curves:
    """Gives each trial the nearest recorded curve that no other trial has."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._given: list[int] = []
        self.of_number: dict[int, Curve] = {}
        """The curve of each trial, by its number."""

    def __call__(self, planned: Planned) -> Curve:
        self._given.append(self._recording.nearest(planned.params, self._given))
        self.of_number[planned.number] = self._recording.trials[self._given[-1]].epochs
        return self.of_number[planned.number]


class _AsOptunaSearch(SearchSource):
    """Tells the sampler what Ray's OptunaSearch would: each epoch's value but the last, and COMPLETE with that one."""

    def __init__(self, curves: _Curves, space: SearchSpace, sampler: SpaceSampler) -> None:
        super().__init__(space, sampler)
        self._curves = curves

    def report(self, number: int, epoch: int, value: float) -> None:
        """Passes on the value of the epoch before, since the report that ends a trial never is."""
        if epoch > 1:
            before = self._curves.of_number[number][epoch - 2]
            self._sampler.report(number, before.epoch, self._space.metric.value(before))

    def tell(self, record: TrialRecord) -> None:
        """Tells Optuna that the trial is complete, with its last value, also if it was stopped."""
        self._sampler.tell(record.number, Outcome.FINISHED, self._space.metric.value(record.epochs[-1]))
