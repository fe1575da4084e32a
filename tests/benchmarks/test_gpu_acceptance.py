"""The acceptance run for GPUs works as a script: every check in its small form, on the CPU."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("parts", "checks"),
    [
        pytest.param(["correct", "speed"], 15, marks=pytest.mark.long),
        pytest.param(["ray"], 8, marks=pytest.mark.chaos),  # what other tests do at greater length
    ],
)
def test_every_check_of_the_acceptance_run_ends_in_its_small_form(parts: list[str], checks: int) -> None:
    command = [sys.executable, "benchmarks/gpu_acceptance.py", "--device", "cpu", *(f"--part={part}" for part in parts)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    rows = [line for line in ended.stdout.splitlines() if line.startswith(("| PASS", "| FAIL", "| INFO"))]
    assert len(rows) == checks
    assert not [row for row in rows if row.startswith("| FAIL")]
    assert ended.returncode == 0, ended.stdout + ended.stderr
