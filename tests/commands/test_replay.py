"""launch/replay.py as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fervit.cluster.nodes import Cluster
from tests.conftest import Command
from tests.helpers.sweeps import leaderboard


@pytest.mark.extra
def test_a_recorded_sweep_is_replayed_with_other_samplers_and_schedulers(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    recorded = ("--set", "early_stopping.scheduler=none", "--set", "early_stopping.max_epochs=4")
    ended = command(
        *("tune", "--space", small_space, "--latents", latents_folder, "--set", "search.trials=10", *recorded)
    )
    assert ended.status == 0, ended.err
    (folder,) = (tmp_path / "experiments").iterdir()
    best = max(float(row["f1_macro"]) for row in leaderboard(folder))
    ways = ("--sampler", "tpe", "random", "--scheduler", "asha", "none", "--told", "fervit", "optunasearch")
    replayed = command("replay", folder, *ways, "--seeds", 3, "--epochs", 40)
    assert replayed.status == 0, replayed.err
    assert "10 curves, 40 epochs (0 trials left out" in replayed.out
    assert "FEW CURVES" in replayed.out
    assert max(map(len, replayed.out.splitlines())) <= 80
    table = [line.split() for line in replayed.out.splitlines() if line.startswith(("tpe ", "random "))]
    assert [line[:3] for line in table[:2]] == [["tpe", "asha", "fervit"], ["tpe", "asha", "optunasearch"]]
    assert len(table) == 8
    for line in table:
        assert 0 < float(line[5]) <= best + 1e-4
        assert (float(line[4]) > 0) == (line[1] == "asha")  # trials stopped
    endless = command("replay", folder, "--sampler", "grid")
    assert endless.status == 2
    assert "grid needs values" in endless.err
    nothing = command("replay", tmp_path)
    assert nothing.status == 2
    assert "give the folder of a sweep" in nothing.err
