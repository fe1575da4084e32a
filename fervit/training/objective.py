"""What a training is judged by: the metric on the validation split, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is optimised, on the validation split."""

    name: Literal["f1_macro", "f1_weighted", "accuracy", "balanced_accuracy", "val_loss"] = "f1_macro"
    goal: Literal["maximize", "minimize"] = "maximize"
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
