"""The models that a comparison takes, and the rows that it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fervit.evaluation.predictions import Predictions
from fervit.files import JsonObject

Standing = Literal["best", "tie", "worse", "more accurate", "other rows", "not evaluated"]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model of a comparison."""

    name: str
    validation: dict[str, float]
    """The metrics of the model's epoch on its validation split; empty if they are not known."""
    predictions: Predictions | None
    """Its predictions for a split; None if it was not evaluated."""
    results: JsonObject | None = None
    """Without predictions, `n`, `accuracy` and `f1_macro` of an evaluation by an earlier script; None for none."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A row of the comparison: the metrics of a model, each with its 95 % interval, and how it compares to the best."""

    name: str
    validation_f1_macro: float | None
    split: str = ""
    """The split that it was evaluated on."""
    n: int = 0
    """The number of rows in that split."""
    accuracy: float | None = None
    accuracy_95: tuple[float, float] | None = None
    f1_macro: float | None = None
    f1_macro_95: tuple[float, float] | None = None
    p_mcnemar: float | None = None
    """The p-value of McNemar's exact test against the best model on the same rows, corrected by Holm's method."""
    f1_macro_behind_95: tuple[float, float] | None = None
    """The 95 % interval of the best model's macro-F1 minus this one's, from resampling the rows of both together."""
    standing: Standing = "not evaluated"
    """The best model is the one with the highest macro-F1.

    A model ties with it if neither the accuracy (by McNemar's test) nor the macro-F1 (by the interval) differs
    significantly. It is "more accurate" if it is right significantly more often although its macro-F1 is lower.
    """

    def to_json(self) -> JsonObject:
        """The fields by name, with intervals as lists."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
