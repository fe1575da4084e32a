"""The steps of a sweep after its trials have run: what is chosen, exported and evaluated is of one epoch everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from fervit.checkpoints.checkpoint import load_checkpoint
from fervit.search import steps
from fervit.search.policy.sources import ConfirmSource
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.splits import open_splits
from tests.helpers.ledger import Sweep, report, write_model


def train(sweep: Sweep, files: SweepFolder, seed: int, values: list[float]) -> str:
    """Reports a whole trial, and writes the model of its best epoch."""
    planned = sweep.begin()
    for epoch, value in enumerate(values, 1):
        sweep.ledger.report(planned.name, report(epoch, value, best=max(values[:epoch])))
    sweep.ledger.end(planned.name)
    write_model(files, planned.name, values.index(max(values)) + 1, max(values), seed)
    return planned.name


def test_the_models_that_are_evaluated_are_of_the_epochs_that_the_record_names(
    latents_folder: Path, tmp_path: Path
) -> None:
    """Of three reruns with fresh seeds, the model of one is of an earlier epoch, and that of another is damaged."""
    files = SweepFolder(tmp_path)
    again = {"confirm": {"top": 1, "seeds": 3}, "fixed": {"latent_dim": 16, "seq_len": 4}}
    sweep = Sweep(tmp_path, **again)
    curve = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.6, 0.5]
    train(sweep, files, 0, curve)
    sweep.ledger.use(ConfirmSource(sweep.space, sweep.ledger.records, sweep.ledger.records))
    names = [train(sweep, files, seed, [value - 0.01 * seed for value in curve]) for seed in (1, 2, 3)]
    write_model(files, names[1], 1, 0.08, seed=2)
    files.trial(names[2]).best_model.write_bytes(b"cut off")
    said: list[str] = []
    splits = open_splits(str(latents_folder), sweep.space)
    result = steps.Sweep(sweep.ledger, files, splits, lambda: None, said.append).run()
    assert result.verdict.look is not None
    assert [score.epoch for score in result.verdict.look.seeds] == [7, 1]
    assert [one.values for one in result.confirmed] == [pytest.approx((0.69, 0.08, 0.67))]
    assert (result.chosen.name, load_checkpoint(files.best).epoch) == ("trial_0000", 7)
    assert any(names[2] in line and "not used" in line for line in said)
    resumed = {record.name: record for record in Sweep(tmp_path, **again).ledger.records}
    assert [epoch.epoch for epoch in resumed[names[1]].epochs] == [1]
