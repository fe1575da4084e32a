"""Trials that train with several workers."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import ray

from fervit.cluster.nodes import Cluster
from fervit.search.workers.worker_group import WorkerLostError, another_failed, gather
from fervit.training.failure import Failure
from tests.helpers.processes import command_line, descendants, wait_until
from tests.helpers.sweeps import leaderboard, space, sweep


@ray.remote(num_cpus=0)
def rank(failure: Failure | None, seconds: float = 0.0) -> Failure | None:
    """What a rank returns after some seconds."""
    time.sleep(seconds)
    return failure


@ray.remote(num_cpus=0, max_retries=0)
def dying_rank() -> None:
    os._exit(1)


HANGS = 600.0


@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_a_rank_that_fails_is_noticed_while_others_hang() -> None:
    """As they do in kernels of NCCL, which wait for a rank that has left."""
    short, consequence = Failure("out of memory", "no room"), Failure("RuntimeError", "connection closed")
    hanging, nobody = rank.remote(None, HANGS), threading.Event()
    assert another_failed([hanging, rank.remote(short)], nobody)
    assert another_failed([dying_rank.remote(), hanging], nobody)
    assert not another_failed([rank.remote(None), rank.remote(Failure("diverged", "nan"))], nobody)
    nobody.set()
    assert not another_failed([hanging], nobody)  # this rank is done, and asks no more

    assert gather([hanging, rank.remote(short)], None) == short
    both = [rank.remote(consequence), rank.remote(short)]
    ray.wait(both, num_returns=2)
    assert gather(both, None) == short  # the cause, and not what it led to
    assert gather([rank.remote(None), rank.remote(None)], None) is None
    assert gather([hanging], 0.1) is None
    with pytest.raises(WorkerLostError):
        gather([hanging, dying_rank.remote()], None)
    ray.cancel(hanging, force=True)


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
