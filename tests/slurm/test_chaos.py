"""Nodes of a real Slurm are lost while a sweep runs on them. `make chaos` runs these tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fervit.search.records.events import EpochEnded
from fervit.search.records.journal import read_journal
from fervit.search.records.sweep_folder import SweepFolder
from tests.conftest import SMALL_SPACE, write_splits
from tests.helpers.host_sweeps import Standstill
from tests.helpers.hosts import host_at, wait_until
from tests.helpers.slurm import Slurm, events, log_of
from tests.helpers.sweeps import leaderboard

pytestmark = [pytest.mark.slurm, pytest.mark.chaos, pytest.mark.timeout(3600)]


def begin(slurm: Slurm, name: str, nodes: int) -> tuple[str, Path, Standstill]:
    """Starts a sweep, and holds its trials once one on each node has saved."""
    raw = yaml.safe_load(SMALL_SPACE)
    raw |= {"name": name, "early_stopping": {"scheduler": "none", "max_epochs": 12}, "confirm": {"top": 0}}
    raw["fixed"]["batch_size"] = 4
    if not (slurm.share / "latents").is_dir():
        write_splits(slurm.share / "latents")
    (slurm.share / f"{name}.yaml").write_text(yaml.safe_dump(raw))
    flags = f"--nodes {nodes} --cpus_per_node 1 --time 30"
    job, folder = slurm.launch(f"tune --space {name}.yaml --latents latents {flags}")
    trials = Standstill(slurm.hosts, name)
    assert trials.reached(nodes, lambda: slurm.over(job), saved=1), log_of(folder)[-3000:]
    return job, folder, trials


def trained(folder: Path) -> list[EpochEnded]:
    return [event for event in read_journal(SweepFolder(folder).journal) if isinstance(event, EpochEnded)]


def assert_whole(slurm: Slurm, job: str, folder: Path) -> None:
    assert slurm.ended(job) == "COMPLETED", log_of(folder)[-3000:]
    rows = leaderboard(folder)
    assert sorted(int(row["trial"]) for row in rows) == list(range(6))
    assert {row["state"] for row in rows} == {"finished"}


def test_a_node_dies(slurm: Slurm) -> None:
    job, folder, trials = begin(slurm, "node_dies", 3)
    slurm.hosts.kill(3)
    trials.release()
    try:
        assert_whole(slurm, job, folder)
        assert events(folder) == ["began", "ended"]
    finally:
        slurm.hosts.up()
        slurm.join(3)
        assert wait_until(lambda: slurm.run("sinfo -h -n fer3 -o %T").strip() == "idle"), slurm.run("sinfo -N -l")


@pytest.mark.parametrize("nodes", [2, 1])
def test_the_first_node_dies(slurm: Slurm, nodes: int) -> None:
    """The batch script and the command die with it. Once Slurm has noticed, the job starts again on other nodes."""
    job, folder, trials = begin(slurm, f"first_of_{nodes}_dies", nodes)
    assert "fer1" in slurm.run(f"squeue -h -o %B -j {job}")
    slurm.notice_down_after(60)
    slurm.hosts.kill(1)
    trials.release()
    try:
        assert_whole(slurm, job, folder)
        assert events(folder) == ["began", "began", "ended"]
        assert host_at(trained(folder)[-1].node) in (2, 3)
        assert wait_until(lambda: slurm.left_over((2, 3)) == [], 60), slurm.left_over((2, 3))
    finally:
        slurm.notice_down_after(300)
        slurm.hosts.up()
        slurm.join(1)
        assert wait_until(lambda: slurm.run("sinfo -h -n fer1 -o %T").strip() == "idle"), slurm.run("sinfo -N -l")


def test_slurmd_is_killed(slurm: Slurm) -> None:
    job, folder, trials = begin(slurm, "slurmd_killed", 1)
    slurm.hosts.check(1, "pkill -KILL -x slurmd")
    trials.release()
    try:
        assert wait_until(lambda: events(folder) == ["began", "ended"]), log_of(folder)[-3000:]
    finally:
        slurm.join(1)
    assert_whole(slurm, job, folder)


def test_a_node_is_drained(slurm: Slurm) -> None:
    job, folder, trials = begin(slurm, "drained", 1)
    slurm.run("scontrol update nodename=fer1 state=drain reason=test")
    slurm.run(f"scancel --batch --signal=USR1 {job}")
    try:
        assert wait_until(lambda: "the time limit is near" in log_of(folder)), log_of(folder)[-3000:]
        trials.release()
        assert_whole(slurm, job, folder)
    finally:
        slurm.run("scontrol update nodename=fer1 state=resume")
    assert len({event.node for event in trained(folder)}) == 2
