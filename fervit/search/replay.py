"""Replays a finished sweep with another sampler or scheduler, to find out without training what it would have found.

Each configuration that the sampler suggests gets the curve of the nearest recorded configuration whose curve is still
unused. A configuration that is suggested twice thus gets two different curves, as two trainings with different noise
would give in a real sweep. The replay ends when its budget is spent or no curve is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from fervit.errors import UserError
from fervit.search.ledger import Ledger, Observer
from fervit.search.packed import SUFFIX, read_packed
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import Outcome, SpaceSampler
from fervit.search.policy.sources import SearchSource
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.history import History
from fervit.search.records.journal import JournalInMemory, JournalReader
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.simulated import Curve, VirtualClock, run_simulated
from fervit.search.space.coordinates import coordinates
from fervit.search.space.search_space import Params, SearchSpace
from fervit.search.space.settings import Budget, Confirm
from fervit.search.space.space_file import check_search

Told = Literal["fervit", "optunasearch"]
"""How the sampler learns the results of trials. "fervit" reports the best value so far after each epoch, and the state
PRUNED for a stopped trial. "optunasearch" does as Ray's OptunaSearch: it reports the value of each epoch but the last,
and the state COMPLETE with the last value for every trial."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The learning curves of those trials of a sweep that trained all their epochs."""

    space: SearchSpace
    trials: list[TrialRecord]
    points: np.ndarray
    """float64 [trials, coordinates]: the configurations as points, made by `fervit.search.space.coordinates`."""
    left_out: int
    """The number of trials that were stopped or failed; their curves are too short to replay."""

    @property
    def epochs(self) -> int:
        """The number of epochs of all curves together."""
        return sum(len(record.epochs) for record in self.trials)

    def nearest(self, params: Params, given: Sequence[int]) -> int:
        """Returns the index of the recorded trial whose configuration is nearest to `params`.

        Args:
            params: a configuration.
            given: the indices of the trials whose curves are already used; they are left out.
        """
        distances = ((self.points - np.array(coordinates(self.space, params))) ** 2).sum(axis=1)
        distances[list(given)] = np.inf
        return int(distances.argmin())


def read_recording(folder: Path) -> Recording:
    """Reads the recorded learning curves from the folder of a sweep, or from a packed file (`packed.py`).

    Raises:
        UserError: the folder is no sweep's, the file is damaged, or fewer than two of the trials trained all their
            epochs.
    """
    if folder.name.endswith(SUFFIX):
        packed = read_packed(folder)
        return recording_of(packed.space, [one.record() for one in packed.trainings if one.group == "sweep"], folder)
    files = SweepFolder(folder)
    if not (files.space.is_file() and files.journal.is_file()):
        raise UserError(f"{folder}: holds no {files.space.name} and {files.journal.name}; give the folder of a sweep")
    return recording_of(files.read_space(), History(JournalReader(files.journal)).records.values(), folder)


def recording_of(space: SearchSpace, records: Iterable[TrialRecord], folder: Path) -> Recording:
    """Returns the learning curves of the trials of a search that trained all their epochs.

    Args:
        space: the search space.
        records: the trials and reruns of the sweep.
        folder: where they were read from, for the message.

    Raises:
        UserError: there are fewer than two.
    """
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
    """The result of one replay."""

    best: float
    """The best value of the metric that a trial reached."""
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
    """Searches the recorded configurations until the budget of epochs is spent.

    Args:
        recording: the recorded learning curves.
        sampler: the name of a sampler, as in a space file.
        scheduler: the name of a scheduler, as in a space file. Its settings are those of the recording's space.
        seed: the seed of the sampler.
        epochs: the budget: the number of epochs of all trials together.
        slots: how many trials run at once.
        told: how the sampler learns the results of trials; see `Told`.

    Raises:
        UserError: the sampler cannot search this space.
    """
    space = space_of_replay(recording, sampler, scheduler, seed)
    clock, curves, meter = VirtualClock(), Curves(recording), _Meter(epochs)
    rule = stopping_rule(space.early_stopping, space.metric)
    ledger = Ledger(space, JournalInMemory(clock), rule, [meter], clock=clock)
    source_of = RecordedSearch if told == "fervit" else _AsOptunaSearch
    ledger.use(source_of(curves, space, SpaceSampler(space)))
    run_simulated(ledger, curves, clock, slots=slots, is_over=meter.is_over)
    begun = [record for record in ledger.records if record.epochs]
    values = [space.metric.sign * value for record in begun if (value := record.best_value(space.metric)) is not None]
    return Replayed(best=space.metric.sign * max(values), trials=len(begun), stopped=meter.stopped, epochs=meter.epochs)


class _Meter(Observer):
    """Counts the epochs of a replay until its budget is spent, and the trials that the stopping rule ended."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self.epochs = self.stopped = 0

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        self.epochs += 1

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        self.stopped += record.state == "stopped" and ledger.was_stopped(record.name)

    def is_over(self) -> bool:
        """Returns whether the budget is spent."""
        return self.epochs >= self._budget


def space_of_replay(recording: Recording, sampler: str, scheduler: str, seed: int) -> SearchSpace:
    """Returns the recording's space with another sampler and scheduler, one trial for each curve, and no budget.

    Raises:
        UserError: the sampler cannot search this space.
    """
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


class Curves:
    """Assigns to each trial the curve of the nearest recorded configuration that no other trial has."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.given: dict[int, int] = {}
        """The index of the recorded trial that each trial got, by its number."""
        self.of_number: dict[int, Curve] = {}
        """The curve of each trial, by its number."""

    def assigned(self, planned: Planned) -> Planned:
        """Assigns a curve to a trial, and returns the trial with the warm-up of that curve, by which it is judged."""
        index = self._recording.nearest(planned.params, list(self.given.values()))
        self.given[planned.number] = index
        recorded = self._recording.trials[index]
        self.of_number[planned.number] = list(recorded.epochs)
        return planned._replace(config=replace(planned.config, warmup_epochs=recorded.warmup_epochs))

    def __call__(self, planned: Planned) -> Curve:
        return self.of_number[planned.number]


class RecordedSearch(SearchSource):
    """The trials that the sampler suggests, each with the curve of a recorded configuration.

    Args:
        curves: the curves, of which each trial gets one when it is suggested.
        space: the search space.
        sampler: the sampler of the space.
    """

    def __init__(self, curves: Curves, space: SearchSpace, sampler: SpaceSampler) -> None:
        super().__init__(space, sampler)
        self._curves = curves

    def ask(self) -> Planned | None:
        """Returns the next trial, with its curve assigned; None if there is none now."""
        planned = super().ask()
        return None if planned is None else self._curves.assigned(planned)


class _AsOptunaSearch(RecordedSearch):
    """Reports to the sampler as Ray's OptunaSearch does: see "optunasearch" in `Told`."""

    def report(self, number: int, epoch: int, value: float) -> None:
        """Reports the value of the previous epoch, since OptunaSearch never gets the report that ends a trial."""
        if epoch > 1:
            before = self._curves.of_number[number][epoch - 2]
            self._sampler.report(number, before.epoch, self._space.metric.value(before))

    def tell(self, record: TrialRecord) -> None:
        """Marks the trial as complete in Optuna, with its last value, even if it was stopped."""
        if record.epochs:  # a trial without an epoch was cut off by the end of the replay
            self._sampler.tell(record.number, Outcome.FINISHED, self._space.metric.value(record.epochs[-1]))
