"""The recording of sweeps for replays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.recordings import PLANS, SHARED, Recorder
from fervit.latents import LatentSet
from fervit.search.packed import read_packed
from fervit.training.data import DeviceLatents
from fervit.training.trainer import Trainer

TIMES = ("seconds", "samples_per_second")
"""What two trainings of the same numbers differ in."""


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/tools/make_w_plus.py")
def test_a_recording_goes_on_where_it_was_cut_off_and_has_the_curves_of_the_trainer(tmp_path: Path) -> None:
    recorder = Recorder(PLANS[0], tmp_path, tiny=True)
    recorder.prepare()
    recorder.record("sweep", checks=1)
    whole = recorder.file.read_bytes()
    recorder.file.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 9])  # the last training is cut off
    for group in ("sweep", "residuals", "check"):
        recorder.record(group, checks=1)
    lines = recorder.file.read_bytes().splitlines()
    assert [_timeless(line) for line in lines[:8]] == [_timeless(line) for line in whole.splitlines()]
    recorder.pack(tmp_path / "clean.json.xz")
    packed = read_packed(tmp_path / "clean.json.xz")
    assert [len(packed.of(group)) for group in ("sweep", "residuals", "check")] == [8, 4, 3]
    assert {one.seed for one in packed.of("sweep")} == {42}
    assert [[one.seed for one in runs] for runs in packed.by_configuration("residuals").values()] == [[43, 44]] * 2

    splits = [DeviceLatents(LatentSet.read(str(recorder.latents / split))) for split in ("train", "val")]
    first = packed.of("residuals")[0]
    trainer = Trainer(packed.space.config(first.params, first.seed), *splits)
    for row in first.epochs:
        assert row.f1_macro == pytest.approx(trainer.run_epoch().f1_macro, rel=1e-5)
    best = first.epochs.index(max(first.epochs, key=lambda row: row.f1_macro))
    assert len(set(first.fresh["f1_macro"][best:])) == 1  # the model of the best epoch stays the one that is measured


def _timeless(line: bytes) -> object:
    row = json.loads(line)
    return {**row, "epochs": {name: column for name, column in row["epochs"].items() if name not in TIMES}}
