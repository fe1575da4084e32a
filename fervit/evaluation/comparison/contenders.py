"""The models that a comparison takes, and the rows that it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fervit.evaluation.predictions import Predictions
from fervit.io.files import JsonObject

Standing = Literal["best", "tie", "worse", "other rows", "not evaluated"]


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
    seen: bool = False
    """Whether it was evaluated just now on rows that trained or chose it."""


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
    p_among_best: float | None = None
    """The p-value of the hypothesis that the model is among the best on these rows (`confidence_set`)."""
    p_mcnemar: float | None = None
    """The p-value of McNemar's exact test of accuracy against the best model on the same rows, corrected by Holm's
    method for the number of models. It informs, and decides nothing: that best was picked on these rows."""
    f1_macro_behind_95: tuple[float, float] | None = None
    """The 95 % interval of the best model's macro-F1 minus this one's. It holds for all models together."""
    standing: Standing = "not evaluated"
    """The best model is the one with the highest macro-F1. A model ties with it unless `p_among_best` is below 0.05."""
    more_accurate: bool = False
    """Whether the model is right significantly more often than the best, by `p_mcnemar`, at a lower macro-F1."""

    def to_json(self) -> JsonObject:
        """The fields by name, with intervals as lists."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
