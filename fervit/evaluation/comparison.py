"""What a comparison of several models holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fervit.evaluation.predictions import Predictions

Standing = Literal["best", "tie", "worse", "more accurate", "other rows", "not evaluated"]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model, with what it said of a split where that is known."""

    name: str
    validation: dict[str, float]
    """Metrics of the epoch that was kept."""
    predictions: Predictions | None


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A row of the comparison."""

    name: str
    validation_f1_macro: float | None
    split: str = ""
    n: int = 0
    accuracy: float | None = None
    accuracy_95: tuple[float, float] | None = None
    f1_macro: float | None = None
    f1_macro_95: tuple[float, float] | None = None
    p_mcnemar: float | None = None
    """Of McNemar's exact test against the best on the same rows, corrected for the number of tests (Holm)."""
    f1_macro_behind_95: tuple[float, float] | None = None
    """95 % interval of how far the macro-F1 lies behind the best's, by resampling the rows of both together."""
    standing: Standing = "not evaluated"
    """best: by macro-F1. tie: neither accuracy (McNemar) nor macro-F1 (the interval) can be told from the best's. more
    accurate: it is right more often than the best, which has the higher macro-F1."""

    def to_json(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
