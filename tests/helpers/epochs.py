"""Makes results of epochs without a training."""

from __future__ import annotations

from typing import Any

from fervit.training.epoch import FIELDS, EpochResult


def epoch_result(epoch: int, **values: Any) -> EpochResult:
    """Makes the result of an epoch with these values, and 0 for all other fields."""
    return EpochResult.from_json({**dict.fromkeys(FIELDS, 0.0), "epoch": epoch, **values})
