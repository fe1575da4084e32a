"""The interfaces between the ledger and what decides: where trials come from, and when they are stopped."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fervit.search.records.events import Purpose
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import Params
from fervit.training.config import TrainConfig


class Planned(NamedTuple):
    """A trial to start."""

    number: int
    name: str
    params: Params
    config: TrainConfig
    purpose: Purpose = "search"


class TrialSource(Protocol):
    """Where the trials of one part of a sweep come from, and who hears what became of them."""

    purposes: tuple[Purpose, ...]

    @property
    def total(self) -> int:
        """How many trials there will be at most, those that have ended included."""
        ...

    @property
    def enough(self) -> str:
        """Why no more trials are worth their time; "" while they are."""
        ...

    def ask(self) -> Planned | None:
        """The next trial; None where there is none to start."""
        ...

    def report(self, number: int, epoch: int, value: float) -> None:
        """The best value that a trial has reached by an epoch; told again, it is passed over."""
        ...

    def tell(self, record: TrialRecord) -> None:
        """How a trial ended; told again, it is passed over."""
        ...


class StoppingRule(Protocol):
    """Decides after each epoch whether a trial goes on."""

    def stops(self, record: TrialRecord, best_value: float, value: float) -> bool:
        """Whether the trial, which has just reached `record.epochs[-1]`, is stopped.

        Args:
            record: the trial.
            best_value: the best value of the metric so far.
            value: the last epoch's.
        """
        ...
