"""Folders of sweeps and runs of version 0.1, as of 2026-11-25, can be read and resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fervit.checkpoints.checkpoint import load_checkpoint
from fervit.cluster.nodes import Cluster
from fervit.report.results import read_results
from fervit.search.records.history import History
from fervit.search.records.journal import read_journal
from fervit.search.records.sweep_folder import SweepFolder
from tests.conftest import ROOT, Command, write_splits
from tests.helpers.sweeps import leaderboard

OLD = ROOT / "tests" / "data" / "version_0_1"


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """The space file of the old sweeps."""
    path = tmp_path / "small.yaml"
    path.write_text((OLD / "finished" / "sweep.yaml").read_text())
    return path


def copied(name: str, where: Path) -> Path:
    """Copies an old folder to a name under which the commands find it."""
    folder = where / "experiments" / "small_20261125_205440"
    shutil.copytree(OLD / name, folder)
    return folder


def test_a_sweep_that_ended_is_shown_as_it_ended(tmp_path: Path) -> None:
    results = read_results(copied("finished", tmp_path))
    assert (results.state, len(results.records), len(results.confirmed)) == ("finished", 6, 2)
    (chosen,) = [row for row in leaderboard(results.folder) if row["chosen"] == "yes"]
    assert results.chosen is not None
    assert (str(results.chosen.number), str(results.chosen.seed)) == (chosen["trial"], chosen["seed"])
    assert results.looks[0].trial == results.chosen.number
    assert load_checkpoint(results.folder / "best").epoch == int(chosen["epoch"])


@pytest.mark.long
def test_trials_are_added_to_a_sweep_that_ended(
    tmp_path: Path, command: Command, cluster: Cluster, space: Path
) -> None:
    folder, latents = copied("finished", tmp_path), write_splits(tmp_path / "latents")
    before = read_journal(SweepFolder(folder).journal)
    ended = command("tune", "--space", space, "--latents", latents, "--resume", "--set", "search.trials=7")
    assert ended.status == 0, ended.err
    after = read_journal(SweepFolder(folder).journal)
    assert after[: len(before)] == before
    history = History(after)
    assert sum(record.purpose == "search" for record in history.records.values()) == 7
    (chosen,) = [row for row in leaderboard(folder) if row["chosen"] == "yes"]
    assert history.choice is not None
    assert [str(n) for n in (history.choice.number, history.choice.seed, history.choice.epoch)] == [
        chosen[name] for name in ("trial", "seed", "epoch")
    ]


@pytest.mark.long
def test_a_sweep_that_was_killed_goes_on(tmp_path: Path, command: Command, cluster: Cluster) -> None:
    folder, latents = copied("interrupted", tmp_path), write_splits(tmp_path / "latents")
    assert read_results(folder).state == "interrupted"
    fewer = ("--set", "search.trials=3", "--set", "confirm.top=0")
    ended = command("tune", "--space", folder / "sweep.yaml", "--latents", latents, "--resume", *fewer)
    assert ended.status == 0, ended.err
    records = History(read_journal(SweepFolder(folder).journal)).records.values()
    assert [record.name for record in records] == ["trial_0000", "trial_0001", "trial_0002"]
    for record in records:
        assert [epoch.epoch for epoch in record.epochs] == list(range(1, len(record.epochs) + 1))
        assert record.state in ("finished", "stopped")
    assert any(record.state == "finished" for record in records)


@pytest.mark.long
def test_a_run_that_was_killed_goes_on(tmp_path: Path, command: Command) -> None:
    folder, latents = tmp_path / "experiments" / "latent_vit_old", write_splits(tmp_path / "latents")
    shutil.copytree(OLD / "run", folder)
    moved = ("--latent_train_dir", latents / "train", "--latent_val_dir", latents / "val")
    ended = command("train", "--resume", folder, *moved)
    assert ended.status == 0, ended.err
    assert "going on after epoch 2" in ended.out
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 61))
    assert rows[:2] == [json.loads(line) for line in (OLD / "run" / "history.jsonl").read_text().splitlines()]
    assert read_results(folder).state == "finished"
