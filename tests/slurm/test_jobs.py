"""Jobs on a real Slurm: of several nodes, of several users on the same nodes, cancelled, and without a requeue."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers.hosts import wait_until
from tests.helpers.slurm import USERS, Slurm, events, log_of

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("cut_sweep")]

OF_JOBS = tuple(USERS)
"""The users of these tests' jobs. The sweep that is cut beside them is root's."""

SCRIPT = """#!/bin/bash
#SBATCH --ntasks-per-node=1 --cpus-per-task={cpus} --time=30 --output={log} --open-mode=append {flags}
export FERVIT_JOB_FOLDER={folder}/slurm FERVIT_SCRIPT={script}
mkdir -p {folder}/slurm
exec bash {root}/clusters/slurm.sh {root}/.venv/bin/python {driver}
"""
LOOK = """
import os, stat, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init(log_to_driver=False, configure_logging=False)
me = (os.environ["SLURM_JOB_ID"], os.getuid())
gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
@ray.remote(num_cpus=1, num_gpus=1 if gpu else 0)
def who():
    return os.environ["SLURM_JOB_ID"], os.getuid()
alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
assert len(alive) == int(os.environ["SLURM_JOB_NUM_NODES"]), alive
assert ray.cluster_resources()["CPU"] == len(alive) * int(os.environ["SLURM_CPUS_PER_TASK"]), ray.cluster_resources()
assert ray.cluster_resources().get("GPU", 0) == (len(alive) if gpu else 0), ray.cluster_resources()
found = ray.get([who.options(scheduling_strategy=On(node, soft=False)).remote() for node in alive])
assert set(found) == {me}, (found, me)
assert stat.S_IMODE(os.stat(os.environ["RAY_AUTH_TOKEN_PATH"]).st_mode) == 0o600
print("alone at", os.environ["RAY_ADDRESS"], os.environ["TMPDIR"], "GPU" + gpu, flush=True)
"""
WAIT = (
    LOOK
    + """
import time
while True:
    time.sleep(1)
"""
)
TWICE = """
import pathlib, sys, time, signal
signal.signal(signal.SIGUSR1, signal.default_int_handler)
try:
    if pathlib.Path("second").exists():
        print("the work is done", flush=True)
        sys.exit(0)
    print("working", flush=True)
    while True:
        time.sleep(1)
except KeyboardInterrupt:
    pathlib.Path("second").touch()
    sys.exit(130)
"""


def by_hand(
    slurm: Slurm, user: str, name: str, driver: str, flags: str = "--nodes=1", exports: str = "", cpus: int = 1
) -> tuple[str, Path]:
    """Submits a script that stands on clusters/slurm.sh alone, and returns the number of the job and its folder."""
    folder = slurm.home(user) / name
    slurm.run(f"mkdir -p {folder}/slurm", user)
    script, source = folder / "job.sh", folder / "driver.py"
    source.write_text(driver)
    log = folder / "slurm" / "log.txt"
    text = SCRIPT.format(log=log, flags=flags, cpus=cpus, folder=folder, script=script, root=ROOT, driver=source)
    script.write_text(text)
    return slurm.run(f"{exports} sbatch --parsable {script}", user, folder).strip(), folder


@pytest.mark.parametrize("n", [8, pytest.param(200, marks=pytest.mark.chaos)])
@pytest.mark.timeout(7200)
def test_jobs_of_two_users_on_the_same_nodes_never_meet(slurm: Slurm, n: int) -> None:
    """In addition, /tmp/ray is another user's on every node, the disk of one is full, and homes cannot be written."""
    for host in range(1, 4):
        slurm.hosts.check(host, "mkdir -p -m 700 /tmp/ray")
    slurm.hosts.check(3, "fallocate -l $(($(df --output=avail -B1 /tmp | tail -n 1) - 100000000)) /tmp/full")
    addresses: set[tuple[str, ...]] = set()
    jobs: list[tuple[str, Path]] = []
    for i in range(n):
        assert wait_until(lambda: sum(not slurm.over(job) for job, _ in jobs) < 4)
        gpu = "--gres=gpu:1" if i % 4 < 2 else ""
        flags, user = f"--nodes={1 + i % 2} {gpu}", ("ada", "ben")[i // 2 % 2]
        jobs.append(by_hand(slurm, user, f"look_{n}_{i}", LOOK, flags, "HOME=/proc", cpus=1 + i // 4 % 2))
    for job, folder in jobs:
        assert slurm.ended(job) == "COMPLETED", log_of(folder)
        told = re.search(r"alone at (\S+) (\S+) GPU(\S*)", log_of(folder))
        assert told is not None
        assert bool(told[3]) == ("--gres" in (folder / "job.sh").read_text())
        addresses.add(told.groups())
    assert len(addresses) == n
    slurm.hosts.check(3, "rm /tmp/full")
    assert wait_until(lambda: slurm.left_over(users=OF_JOBS) == [], 60), slurm.left_over(users=OF_JOBS)


def test_a_job_that_is_cancelled_leaves_nothing(slurm: Slurm) -> None:
    job, folder = by_hand(slurm, "ben", "cancelled", WAIT, "--nodes=2")
    assert wait_until(lambda: "alone at" in log_of(folder) or slurm.over(job))
    slurm.run(f"scancel {job}", "ben")
    assert slurm.ended(job) == "CANCELLED"
    assert wait_until(lambda: slurm.left_over(users=OF_JOBS) == [], 60), slurm.left_over(users=OF_JOBS)
    assert events(folder) == ["began", "ended"]
    assert "to go on: sbatch" in log_of(folder)


def test_where_jobs_may_not_requeue_themselves_a_successor_goes_on(slurm: Slurm) -> None:
    job, folder = by_hand(slurm, "ada", "successor", TWICE, "--nodes=1 --no-requeue")
    assert wait_until(lambda: "working" in log_of(folder) or slurm.over(job)), log_of(folder)
    slurm.run(f"scancel --batch --signal=USR1 {job}", "ada")
    assert wait_until(lambda: "the work is done" in log_of(folder)), log_of(folder)
    assert wait_until(lambda: events(folder) == ["began", "paused", "began", "ended"]), log_of(folder)
    first, second = {row["job"] for row in map(json.loads, (folder / "slurm" / "jobs.jsonl").read_text().splitlines())}
    assert first != second


def test_faces_are_encoded_on_three_nodes_and_a_model_is_trained_on_two(slurm: Slurm) -> None:
    home = slurm.home("ada")
    slurm.run(f"python {ROOT}/launch/demo_faces.py --output_dir faces --train 30 --val 7 --test 6", "ada", home)
    small = "--cpus_per_node 1 --time 20"
    encode = "encode --data_root faces --latent_out latents --encoder_type demo --limit 120"
    job, folder = slurm.launch(f"{encode} --nodes 3 {small}", "ada", home)
    assert slurm.ended(job) == "COMPLETED", log_of(folder)[-3000:]
    by_machine = next(line for line in log_of(folder).splitlines() if line.startswith("by machine: "))
    assert [word for word in ("fer1", "fer2", "fer3") if word not in by_machine] == []

    model = "--epochs 2 --depth 1 --embed_dim 16 --heads 2 --mlp_dim 16"
    train = f"train --latent_train_dir latents/train --latent_val_dir latents/val --workers 2 {model}"
    job, folder = slurm.launch(f"{train} --nodes 2 {small}", "ada", home)
    assert slurm.ended(job) == "COMPLETED", log_of(folder)[-3000:]
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["training"]["hosts"] == ["fer1", "fer2"]
    assert json.loads((folder / "experiment_summary.json").read_text())["state"] == "finished"
    assert "state" not in slurm.run(f"python {ROOT}/launch/slurm.py status {folder}", "ada", home)
    assert wait_until(lambda: slurm.left_over(users=OF_JOBS) == [], 60), slurm.left_over(users=OF_JOBS)
