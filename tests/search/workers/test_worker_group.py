"""Trials that train with several workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray

from fervit.cluster.nodes import Cluster
from tests.helpers.processes import command_line, descendants, wait_until
from tests.helpers.sweeps import leaderboard, space, sweep


@pytest.mark.long
def test_workers_share_a_trial_give_the_curve_of_one_and_are_gone_when_it_is(
    latents_folder: Path, tmp_path: Path, cluster: Cluster
) -> None:
    stops = {"grace_epochs": 2, "max_epochs": 6}
    alone = sweep(
        space(trial={"workers": 1, "cpus": 2}, early_stopping=stops), latents_folder, tmp_path / "1", cluster, []
    )
    lines: list[str] = []
    given = space(trial={"workers": 2}, early_stopping=stops)
    shared = sweep(given, latents_folder, tmp_path / "2", cluster, lines)
    # The first trial's two workers took the whole cluster: without freeing them no other would have started.
    assert len(lines) == len(shared.records) == 6
    assert {record.state for record in shared.records} == {"finished", "stopped"}
    for one, two in zip(alone.records, shared.records, strict=True):
        assert one.params == two.params
        assert two.epochs[0].train_loss == pytest.approx(one.epochs[0].train_loss, abs=1e-4)
    assert max(float(row["f1_macro"]) for row in leaderboard(shared.folder)) > 0.4

    assert wait_until(lambda: ray.available_resources().get("CPU", 0) == 2)
    assert wait_until(lambda: not [pid for pid in descendants(os.getpid()) if "_GroupMember" in command_line(pid)])
