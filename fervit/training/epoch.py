"""What one epoch of a training gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import attrgetter, itemgetter
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What one epoch gave. Epochs count from 1; metrics are of the validation split."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    accuracy: float
    f1_macro: float
    f1_weighted: float
    balanced_accuracy: float
    lr: float
    seconds: float
    samples_per_second: float

    def to_json(self) -> dict[str, Any]:
        """The fields as a dict, for JSON."""
        return dict(zip(FIELDS, self.values(), strict=True))

    def values(self) -> tuple[float, ...]:
        """The values of the fields, in their order."""
        values: tuple[float, ...] = _of_result(self)
        return values

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> EpochResult:
        """Reads what `to_json` wrote; keys of later versions are ignored.

        Raises:
            KeyError: a field is missing.
        """
        return cls(**dict(zip(FIELDS, _of_row(row), strict=True)))


FIELDS = tuple(field.name for field in fields(EpochResult))
_of_result, _of_row = attrgetter(*FIELDS), itemgetter(*FIELDS)
