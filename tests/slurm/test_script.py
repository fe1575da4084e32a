"""clusters/slurm.sh with programs in place of Slurm's, which say what they were asked to do."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fervit.slurm.jobs import starts_of
from fervit.slurm.script import CLUSTER_SCRIPT
from tests.helpers.processes import Running

PROGRAMS = {
    "srun": """
        echo "asked: srun $*" >&2; env | sed -n 's/^RAY_USAGE/node: &/p' >&2
        [ -z "$NO_NODE" ] || { echo "failed fer1 no folder on this node"; [ -z "$OTHERS" ] || cat >/dev/null; exit 1; }
        echo -n "head fer1 10.0."; sleep "${SLOW-0}"; echo "0.1:99 /tmp"
        read -r address; echo "up fer1"; cat >/dev/null; echo "nodes ended" >&2""",
    "scontrol": """
        [ "$1" != show ] || { echo "JobId=$3 Requeue=${REQUEUE-1} Restarts=0"; exit; }
        echo "asked: scontrol $*"; [ -z "$NO_REQUEUE" ]""",
    "squeue": """
        case "$*" in
            *=7*%e) date -d "${ENDS-2 hours}" +%FT%T ;;
            *=7*%T) echo "${STATE-RUNNING}" ;;
            *=5*) echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1 ;;
            *=6*) ;;
            *) echo RUNNING ;;
        esac""",
    "sbatch": """
        echo "asked: sbatch $*, job ${SLURM_JOB_ID-none}, conf $SLURM_CONF" >&2
        echo "Welcome to the cluster"; echo "8;cluster" """,
    "python_driver": """
        [ "$1" != -m ] || exec "$PYTHON" "$@"
        trap 'echo saving; until [ ! -v SAVED -o -e "$SAVED" ]; do sleep 0.02; done; echo saved; exit 130' USR1
        env | sed -n 's/^RAY_USAGE/driver: &/p'; echo "driver at $RAY_ADDRESS"; [ -z "$1" ] || exit "$1"
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
        "PYTHON": sys.executable,
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


def told(folder: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (folder / "jobs.jsonl").read_text().splitlines()]


def signalled(job: Running, number: signal.Signals) -> str:
    """Sends a signal to a job whose command runs, and returns what it said until its end."""
    assert job.says("driver at"), job.printed
    job.interrupt(number)
    return job.ended()


@pytest.mark.parametrize("status", [0, 3])
def test_a_job_ends_as_its_command_does(start: Start, tmp_path: Path, status: int) -> None:
    job = start(status)
    printed = job.ended()
    assert job.returncode == status
    assert "driver at 10.0.0.1:99" in printed
    assert "nodes ended" in printed
    assert ("to go on: sbatch /x/job.sh" in printed) == (status != 0)
    assert "asked: s" not in printed.replace("asked: srun", "")
    assert told(tmp_path / "job") == ["began", "ended"]
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
        (signal.SIGTERM, {}, "else, to go on: sbatch /x/job.sh", 130, ["began", "ended"]),
    ],
    ids=["requeued", "its successor is submitted", "often enough", "asked to end"],
)
def test_a_signal_lets_the_command_save(
    start: Start, tmp_path: Path, number: int, more: dict[str, str], says: str, status: int, events: list[str]
) -> None:
    job = start(**more)
    printed = signalled(job, number)
    assert job.returncode == status
    assert "saved" in printed
    assert says in printed
    assert told(tmp_path / "job") == events


@pytest.mark.parametrize(
    ("ends", "says", "events"),
    [
        (
            "2 seconds",
            "requeueing",
            ["began", "paused"],
        ),  # Slurm sends TERM at the limit, while the command still saves
        ("2 hours", "ended with status 130", ["began", "ended"]),  # someone does not want it to go on
    ],
)
def test_a_job_that_still_saves_at_its_time_limit_goes_on(
    start: Start, tmp_path: Path, ends: str, says: str, events: list[str]
) -> None:
    saved = tmp_path / "saved"
    job = start(ENDS=ends, SAVED=str(saved))
    assert job.says("driver at"), job.printed
    job.interrupt(signal.SIGUSR1)
    assert job.says("saving"), job.printed
    job.interrupt(signal.SIGTERM)
    assert job.reaches(lambda: "the time limit is here" in job.printed or "asked to end" in job.printed)
    saved.touch()
    printed = job.ended()
    assert says in printed, printed
    assert told(tmp_path / "job") == events


def test_after_its_last_requeue_a_job_that_is_submitted_again_may_requeue_itself_as_often(
    start: Start, tmp_path: Path
) -> None:
    for _ in range(2):
        assert "requeueing" in signalled(start(FERVIT_MAX_REQUEUES="1"), signal.SIGUSR1)
        assert "as often as" in signalled(start(FERVIT_MAX_REQUEUES="1"), signal.SIGUSR1)
    assert told(tmp_path / "job") == ["began", "paused", "began", "ended"] * 2


@pytest.mark.parametrize(
    ("saves", "events"), [(False, ["began", "paused", "began", "ended"]), (True, ["began", "paused"] * 3)]
)
def test_jobs_that_save_nothing_before_their_limits_end(
    start: Start, tmp_path: Path, saves: bool, events: list[str]
) -> None:
    folder = tmp_path / "sweep" / "slurm"
    folder.mkdir(parents=True)
    (folder / "job.sh").touch()
    for i in range(len(events) // 2):
        if saves:
            with (tmp_path / "sweep" / "trials.jsonl").open("a") as file:
                file.write(json.dumps({"event": "epoch", "name": "trial_0000", "saved": i + 1}) + "\n")
        printed = signalled(start(FERVIT_JOB_FOLDER=str(folder)), signal.SIGUSR1)
    assert told(folder) == events, printed
    assert ("two jobs in a row saved nothing new before their time limit" in printed) != saves


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"STATE": "PENDING"}, "status 130; Slurm starts it again by itself\n"),
        ({"STATE": "RUNNING"}, "Slurm starts it again by itself if it was preempted; else, to go on: sbatch /x/job.sh"),
        ({"REQUEUE": "0"}, "status 130; to go on: sbatch /x/job.sh"),
    ],
)
def test_a_job_that_is_asked_to_end_says_who_starts_it_again(start: Start, more: dict[str, str], says: str) -> None:
    assert says in signalled(start(**more), signal.SIGTERM)


def test_the_successor_is_the_job_that_status_asks_for(start: Start, tmp_path: Path) -> None:
    signalled(start(NO_REQUEUE="1"), signal.SIGUSR1)
    assert (tmp_path / "job" / "job_id").read_text() == "8\n"


def test_ray_gets_all_cpus_of_the_job_on_each_node(start: Start) -> None:
    asked = next(line for line in start(0, SLURM_CPUS_PER_TASK="6").ended().splitlines() if "srun" in line)
    assert "--cpu-bind=none --cpus-per-task=6 " in asked
    asked = next(line for line in start(0, SLURM_CPUS_PER_TASK="").ended().splitlines() if "srun" in line)
    assert "--cpu-bind=none " in asked
    assert "--cpus-per-task" not in asked


def test_nothing_of_a_job_asks_the_internet_for_anything(start: Start) -> None:
    printed = start(0).ended()
    for who in ("node", "driver"):
        assert f"{who}: RAY_USAGE_STATS_ENABLED=0" in printed


def test_what_a_killed_job_left_in_the_folder_harms_no_later_one(start: Start, tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    for other in (5, 6, 9):  # which Slurm does not know, which has ended, and which runs
        (job / f"token.{other}").touch()
    (job / "jobs.jsonl").write_text('{"time": 1, "job": "5", "rest')
    start(0).ended()
    assert sorted(path.name for path in job.iterdir()) == ["jobs.jsonl", "token.9"]
    assert [start.how for start in starts_of(job / "jobs.jsonl")] == ["ended with status 0"]


def test_without_its_first_node_a_job_ends_at_once(start: Start, tmp_path: Path) -> None:
    """The other nodes wait for the first one until the job lets go of them."""
    printed = start(NO_NODE="1", OTHERS="1", SLURM_JOB_NUM_NODES="3").ended(patience=100)
    assert "node fer1: no folder on this node" in printed
    assert "Ray did not start on the job's first node" in printed
    assert told(tmp_path / "job") == ["began", "ended"]


def test_where_no_node_can_start_ray_the_reason_is_told(start: Start, tmp_path: Path) -> None:
    job = start(NO_NODE="1")
    printed = job.ended()
    assert job.returncode == 1
    assert "node fer1: no folder on this node" in printed
    assert "Ray did not start on the job's first node" in printed
    assert told(tmp_path / "job") == ["began", "ended"]


def test_without_a_job_it_says_what_to_do(start: Start) -> None:
    job = start(SLURM_JOB_ID="")
    assert "this is no job of Slurm: give this script to sbatch" in job.ended()
    assert job.returncode == 2
