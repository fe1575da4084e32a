"""Makes records of trials."""

from __future__ import annotations

from typing import Any

from fervit.search.records.events import TrialState
from fervit.search.records.record import TrialRecord
from fervit.training.objective import Metric
from tests.helpers.epochs import epoch_result

F1 = Metric()

LOSS = Metric(name="val_loss", goal="minimize")


def trial(number: int, values: list[float], state: TrialState = "finished", **more: Any) -> TrialRecord:
    epochs = [
        epoch_result(i, f1_macro=v, val_loss=1 - v, accuracy=v / 2, seconds=1.0) for i, v in enumerate(values, start=1)
    ]
    params = {"lr": 0.001 * (number + 1), "heads": 2, "embed_dim": 8}
    return TrialRecord(number=number, name=f"trial_{number}", seed=1, params=params, state=state, epochs=epochs, **more)
