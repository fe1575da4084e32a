from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.ledger import Sweep, report


def test_the_best_value_is_of_the_metric_of_the_sweep(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, metric={"name": "val_loss", "goal": "minimize"})
    name = sweep.begin().name
    for epoch, value in ((1, 0.5), (2, 0.7)):
        sweep.ledger.report(name, report(epoch, value))
    sweep.ledger.end_all()
    (record,) = sweep.ledger.records
    sweep.ledger.close()
    events = EventAccumulator(str(tmp_path / "logs" / name)).Reload()
    (best,) = events.Scalars("hparam/best_val_loss")
    assert best.value == pytest.approx(record.best_value(sweep.space.metric))
    assert "hparam/best_f1_macro" not in events.Tags()["scalars"]
