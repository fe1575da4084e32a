"""The interfaces through which the ledger gets new trials and decides which trials are stopped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from fervit.latents.folds import Fold
from fervit.search.records.events import Purpose
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import Params
from fervit.training.config import TrainConfig


class Planned(NamedTuple):
    """A trial that is planned but has not started."""

    number: int
    name: str
    params: Params
    config: TrainConfig
    purpose: Purpose = "search"
    fold: Fold | None = None
    """The fold that validates it; None for the splits of the sweep."""


class TrialSource(Protocol):
    """Plans the trials of one part of a sweep, the search or the confirmation, and learns from their results."""

    purposes: tuple[Purpose, ...]

    @property
    def total(self) -> int:
        """The largest number of trials that there can be, including those that have ended."""
        ...

    @property
    def enough(self) -> str:
        """Why further trials are not worth their time, for the user; "" as long as they are."""
        ...

    def ask(self) -> Planned | None:
        """Returns the next trial; None if there is none to start."""
        ...

    def add(self, params: Params) -> None:
        """Plans a configuration that a user added."""
        ...

    def report(self, number: int, epoch: int, value: float) -> None:
        """Learns the best value that a trial has reached by an epoch. A repeated report of the epoch is ignored.

        Args:
            number: the number of the trial.
            epoch: the epoch, from 1.
            value: the best value of the metric up to this epoch.
        """
        ...

    def tell(self, record: TrialRecord) -> None:
        """Learns how a trial ended. A repeated call for the same trial is ignored.

        Nothing is learnt from a trial that was cut by the end of the search or its budget (`record.cut`).
        """
        ...


class StoppingRule(Protocol):
    """Decides after each epoch whether a trial is stopped."""

    def stops(self, record: TrialRecord, best_value: float, value: float) -> bool:
        """Returns whether a trial that has just reported the epoch `record.epochs[-1]` is stopped.

        Args:
            record: the trial, of whose epochs only the last need be there.
            best_value: the best value of the metric that the trial has reached so far.
            value: the value of the metric in the last epoch.
        """
        ...

    def reason(self, name: str) -> str:
        """Returns why a trial was stopped, for the user, such as "0.31 is below 0.35, which ..."."""
        ...


class Pausing(Protocol):
    """Decides which trials of the search pause, and which of those that are paused or have not begun train next.

    It must depend on nothing but the order of the calls, which is that of the journal's events.
    """

    def drawn(self, record: TrialRecord) -> None:
        """Notes a trial of the search, before its first epoch."""
        ...

    def learn(self, name: str, epoch: int, best_value: float) -> None:
        """Notes the best value that a trial has reached by an epoch, which may have been trained before."""
        ...

    def failed(self, name: str) -> None:
        """Notes that a trial has failed."""
        ...

    def pauses(self, name: str, epoch: int, paused: Collection[str], busy: Collection[str]) -> bool:
        """Returns whether a trial pauses after an epoch, which `learn` has noted.

        Args:
            name: the name of the trial.
            epoch: the epoch that it has reported.
            paused: the names of the trials that could train in its place.
            busy: the names of the other trials that are training.
        """
        ...

    def choose(self, paused: Collection[str], busy: Collection[str]) -> str | None:
        """Returns the name of the trial that trains next; None if none is worth its epochs.

        Args:
            paused: the names of the trials that are paused or have not begun.
            busy: the names of those that are training.
        """
        ...

    def surplus(self, paused: Sequence[str]) -> str | None:
        """Returns the name of the trial that is stopped, if more are paused than may be; None if not."""
        ...

    def expected(self) -> dict[str, float]:
        """Returns the value that each configuration is expected to reach, by the name of its trial; or nothing."""
        ...

    def reason(self, name: str) -> str:
        """Returns why a trial has just paused or is chosen, for the user, such as "4 % to reach 0.41"."""
        ...
