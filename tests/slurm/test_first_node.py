"""A job whose first node is lost, with programs in place of Slurm's. test_chaos.py has a real Slurm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fervit.slurm import first_node

PROGRAMS = {
    "squeue": 'cat "$HERE/state"',
    "scontrol": """
        [ "$1" = show ] && { echo "$3" | tr , '\\n'; exit; }
        echo "scontrol $*" >>"$HERE/asked"; [ ! -e "$HERE/refuses" ]""",
    "sbatch": 'echo "sbatch $* of job ${SLURM_JOB_ID-none}" >>"$HERE/asked"; echo 8',
    "scancel": 'echo "scancel $*" >>"$HERE/asked"',
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    settings = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HERE": str(tmp_path), "SLURM_JOB_ID": "7"}
    settings |= {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token.7"), "FERVIT_SCRIPT": "/x/job.sh"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(first_node, "PAUSE_S", 0.01)
    (tmp_path / "state").write_text("RUNNING|fer2,fer3\n")
    return tmp_path


def test_the_nodes_that_are_left_requeue_the_job_once(here: Path) -> None:
    lines: list[str] = []
    assert first_node.go_on_without("fer1", lines.append)
    assert first_node.go_on_without("fer1", lines.append)  # on fer3
    assert (here / "asked").read_text() == "scontrol requeue 7\n"
    assert lines == ["the job's first node fer1 is lost: requeueing"]


def test_where_it_may_not_be_requeued_a_successor_is_submitted(here: Path) -> None:
    (here / "refuses").touch()
    first_node.go_on_without("fer1", print)
    asked = (here / "asked").read_text().splitlines()
    assert asked[1:] == ["sbatch --parsable --dependency=afterany:7 /x/job.sh of job none", "scancel 7"]
    assert (here / "job_id").read_text() == "8\n"


@pytest.mark.parametrize("state", ["RUNNING|fer1,fer2", "COMPLETING|fer2", ""])
def test_a_job_that_goes_on_or_ends_is_left_alone(here: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setattr(first_node, "PATIENCE_S", 0.5)
    (here / "state").write_text(state)
    assert not first_node.go_on_without("fer1", print)
    assert not (here / "asked").exists()
