"""What a training is judged by: the metric on the validation split, and which way is better."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fervit.training.epoch import EpochResult


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is optimised, on the validation split.

    It holds the one rule for the best epoch of a training: the best value, and of equal values the earliest epoch.
    """

    name: Literal["f1_macro", "f1_weighted", "accuracy", "balanced_accuracy", "val_loss"] = "f1_macro"
    """The metric of an epoch."""
    goal: Literal["maximize", "minimize"] = "maximize"
    """minimize for val_loss, maximize for all others."""
    against: Literal["parameters", "latency_ms"] | None = None
    """A second objective, to be small: the model's number of weights, or the milliseconds that one code takes."""

    def __post_init__(self) -> None:
        right = "minimize" if self.name == "val_loss" else "maximize"
        if self.goal != right:
            raise ValueError(f"`goal: {right}` must hold for {self.name}, but got goal: {self.goal}")

    def better(self, value: float, than: float | None) -> bool:
        """Strictly better; an equal value is not."""
        if than is None:
            return True
        return value > than if self.goal == "maximize" else value < than

    @property
    def words(self) -> str:
        """The name of the metric as people write it, such as "macro-F1"."""
        return words_of(self.name)

    @property
    def sign(self) -> int:
        """1 where a higher value is better, else -1."""
        return 1 if self.goal == "maximize" else -1

    def value(self, epoch: EpochResult) -> float:
        """The epoch's value of the metric."""
        value: float = getattr(epoch, self.name)
        return value

    def improves(self, epoch: EpochResult, best: EpochResult | None) -> bool:
        """Whether an epoch is better than the best one before it."""
        return self.better(self.value(epoch), None if best is None else self.value(best))

    def best(self, epochs: Iterable[EpochResult]) -> EpochResult | None:
        """The epoch with the best value, the earliest of equal ones; None of no epochs."""
        best: EpochResult | None = None
        for epoch in epochs:
            if self.improves(epoch, best):
                best = epoch
        return best


WORDS = {"f1_macro": "macro-F1", "f1_weighted": "weighted F1", "val_loss": "validation loss"}


def words_of(name: str) -> str:
    """The name of a metric as people write it, such as "macro-F1"."""
    return WORDS.get(name, name.replace("_", " "))


DEFAULT_METRIC = Metric()
"""Macro-F1: what a training outside a sweep goes by."""
