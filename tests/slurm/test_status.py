"""What is said of a job, with a program in place of squeue."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fervit.slurm.status import status_lines, status_of

JOBS = """#!/bin/bash
job=${2#--jobs=}
[ -z "$DOWN" ] || { echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2; exit 1; }
line=$(grep "^$job " "$HERE/queue") || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
echo "${line#* }"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "squeue"
    program.write_text(JOBS)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HERE", str(tmp_path))
    (tmp_path / "queue").touch()
    (tmp_path / "sweep" / "slurm").mkdir(parents=True)
    return tmp_path / "sweep"


def began(folder: Path, job: int, end: str = "") -> None:
    """Lists a start of a job, and how it ended."""
    start = {"time": 0, "job": str(job), "restart": 0}
    rows = [{**start, "event": "began", "nodes": 1, "gpus": 2, "host": "a"}]
    if end:
        rows.append({**start, "time": 1800, "event": end, **({"status": 130} if end == "ended" else {})})
    with (folder / "slurm" / "jobs.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def submitted(folder: Path, job: int) -> None:
    (folder / "slurm" / "job_id").write_text(f"{job}\n")


def slurm_knows(folder: Path, *lines: str) -> None:
    (folder.parent / "queue").write_text("".join(f"{line}\n" for line in lines))


def job_of(folder: Path) -> str:
    return next(line for line in status_lines(status_of(folder)) if line.startswith("job ")).partition(" ")[2].strip()


def test_a_job_that_has_not_begun_waits(folder: Path) -> None:
    submitted(folder, 7)
    slurm_knows(folder, "7 PENDING||N/A|Priority")
    assert job_of(folder) == "7: PENDING (Priority)"
    assert any("tail -F" in line for line in status_lines(status_of(folder)))  # the log is not there yet


@pytest.mark.parametrize("end", ["ended", "paused", ""])
def test_after_the_end_of_a_job_the_one_that_was_submitted_later_is_shown(folder: Path, end: str) -> None:
    began(folder, 7, end)
    submitted(folder, 9)
    slurm_knows(folder, "9 PENDING||N/A|Dependency")
    assert job_of(folder) == "9: PENDING (Dependency)"
    assert "GPU-hours  1.00" in status_lines(status_of(folder)) or not end


def test_a_job_that_runs_is_shown_although_another_one_waits(folder: Path) -> None:
    began(folder, 7)
    submitted(folder, 9)
    slurm_knows(folder, "7 RUNNING|fer1|2999-01-01T00:00:00|None", "9 PENDING||N/A|Priority")
    assert job_of(folder).startswith("7: RUNNING on fer1, ")
    began(folder, 10)  # given to sbatch by hand
    slurm_knows(folder, "10 RUNNING|fer2|N/A|None")
    assert job_of(folder) == "10: RUNNING on fer2"


def test_a_job_that_has_ended_says_how(folder: Path) -> None:
    submitted(folder, 7)
    began(folder, 7, "ended")
    assert job_of(folder) == "7: Slurm no longer knows it; ended with status 130"


def test_a_slurm_that_does_not_answer_is_not_one_that_knows_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began(folder, 7)
    monkeypatch.setenv("DOWN", "yes")
    assert job_of(folder).startswith("7: Slurm does not answer (squeue: slurm_load_jobs error: Unable to contact")
    assert "no longer knows" not in "\n".join(status_lines(status_of(folder)))


def test_a_line_that_a_kill_cut_off_takes_no_other_with_it(folder: Path) -> None:
    began(folder, 7, "paused")
    with (folder / "slurm" / "jobs.jsonl").open("a") as file:
        file.write('{"time": 3600, "jo\n')
    began(folder, 8, "ended")
    assert job_of(folder) == "8: Slurm no longer knows it; ended with status 130"
    assert sum("start" in line for line in status_lines(status_of(folder))) == 2
