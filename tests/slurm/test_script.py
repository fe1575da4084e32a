"""clusters/slurm.sh with programs in place of Slurm's, which say what they were asked to do."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fervit.slurm.script import CLUSTER_SCRIPT
from tests.helpers.processes import Running

PROGRAMS = {
    "srun": """
        [ -z "$NO_NODE" ] || { echo "failed fer1 no folder on this node"; exit 1; }
        echo -n "head fer1 10.0."; sleep "${SLOW-0}"; echo "0.1:99 /tmp"
        read -r address; echo "up fer1"; cat >/dev/null; echo "nodes ended" >&2""",
    "scontrol": 'echo "asked: scontrol $*"; [ -z "$NO_REQUEUE" ]',
    "sbatch": 'echo "asked: sbatch $*, job ${SLURM_JOB_ID-none}, conf $SLURM_CONF"',
    "python_driver": """
        trap 'echo saved; exit 130' USR1; echo "driver at $RAY_ADDRESS"; [ -z "$1" ] || exit "$1"
        while :; do sleep 0.02; done""",
}
Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Returns a function that starts the script with an argument of the command and further variables."""
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    settings = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "FERVIT_JOB_FOLDER": str(tmp_path / "job"),
        "FERVIT_SCRIPT": "/x/job.sh",
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURMD_NODENAME": "fer1",
    }

    def run(*words: object, **more: str) -> Running:
        return Running(
            ["bash", CLUSTER_SCRIPT, tmp_path / "python_driver", *words], env={**os.environ, **settings, **more}
        )

    return run


def told(tmp_path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (tmp_path / "job" / "jobs.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("status", [0, 3])
def test_a_job_ends_as_its_command_does(start: Start, tmp_path: Path, status: int) -> None:
    job = start(status)
    printed = job.ended()
    assert job.returncode == status
    assert "driver at 10.0.0.1:99" in printed
    assert "nodes ended" in printed
    assert ("to go on: sbatch /x/job.sh" in printed) == (status != 0)
    assert "asked" not in printed
    assert told(tmp_path) == ["began", "ended"]
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["jobs.jsonl"]  # the token is gone


def test_a_line_of_a_node_may_come_in_two_parts(start: Start, tmp_path: Path) -> None:
    job = start(0, SLOW="1.3")
    printed = job.ended()
    assert job.returncode == 0, printed
    assert "driver at 10.0.0.1:99" in printed


@pytest.mark.parametrize(
    ("number", "more", "says", "status", "events"),
    [
        (signal.SIGUSR1, {}, "asked: scontrol requeue 7", 0, ["began", "paused"]),
        (signal.SIGUSR1, {"NO_REQUEUE": "1"}, "/x/job.sh, job none, conf /etc/slurm.conf", 0, ["began", "paused"]),
        (signal.SIGUSR1, {"FERVIT_MAX_REQUEUES": "0"}, "as often as --max_requeues allows", 130, ["began", "ended"]),
        (signal.SIGTERM, {}, "ended with status 130; to go on: sbatch /x/job.sh", 130, ["began", "ended"]),
    ],
    ids=["requeued", "its successor is submitted", "often enough", "asked to end"],
)
def test_a_signal_lets_the_command_save(
    start: Start, tmp_path: Path, number: int, more: dict[str, str], says: str, status: int, events: list[str]
) -> None:
    job = start(**more)
    assert job.says("driver at")
    job.interrupt(number)
    printed = job.ended()
    assert job.returncode == status
    assert "saved" in printed
    assert says in printed
    assert told(tmp_path) == events


def test_where_no_node_can_start_ray_the_reason_is_told(start: Start, tmp_path: Path) -> None:
    job = start(NO_NODE="1")
    printed = job.ended()
    assert job.returncode == 1
    assert "node fer1: no folder on this node" in printed
    assert "Ray did not start on the job's first node" in printed
    assert told(tmp_path) == ["began", "ended"]


def test_without_a_job_it_says_what_to_do(start: Start) -> None:
    job = start(SLURM_JOB_ID="")
    assert "this is no job of Slurm: give this script to sbatch" in job.ended()
    assert job.returncode == 2
