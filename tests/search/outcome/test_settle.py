"""The record of a trial and its model on disk agree, also where a search ended before the last report."""

from __future__ import annotations

from pathlib import Path

import pytest

from fervit.search.outcome.settle import settle, settle_running
from fervit.search.records.sweep_folder import SweepFolder
from tests.helpers.ledger import Sweep, report, write_model


@pytest.mark.parametrize(("epoch", "value"), [(3, 0.8), (1, 0.5)])
def test_the_best_epoch_becomes_that_of_the_model_on_disk(tmp_path: Path, epoch: int, value: float) -> None:
    """The model is of an epoch that was not reported, or the last process had not written that of epoch 2."""
    sweep = Sweep(tmp_path)
    name = sweep.begin().name
    sweep.ledger.report(name, report(1, 0.5))
    sweep.ledger.report(name, report(2, 0.7, saved=1))
    write_model(SweepFolder(tmp_path), name, epoch, value)
    settle_running(sweep.ledger, SweepFolder(tmp_path))
    sweep.ledger.end_all()
    assert sweep.sampler.trials[0].intermediate_values[epoch] == value
    for one in (sweep, Sweep(tmp_path)):
        (record,) = one.ledger.records
        best = record.best(one.space.metric)
        assert best is not None
        assert (record.state, best.epoch, best.f1_macro) == ("stopped", epoch, value)


def test_a_model_of_the_reported_epoch_changes_nothing_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    sweep, files = Sweep(tmp_path), SweepFolder(tmp_path)
    name = sweep.begin().name
    sweep.ledger.report(name, report(1, 0.5))
    (record,) = sweep.ledger.records
    assert settle(sweep.ledger, files, record) is None  # no model
    write_model(SweepFolder(tmp_path), name, 1, 0.5)
    events = len(list(sweep.ledger.events))
    checkpoint = settle(sweep.ledger, files, record)
    assert checkpoint is not None
    assert checkpoint.epoch == 1
    assert len(list(sweep.ledger.events)) == events
    files.trial(name).best_model.write_bytes(b"cut off")
    assert settle(sweep.ledger, files, record) is None
