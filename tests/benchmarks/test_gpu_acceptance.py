"""The acceptance run for GPUs works as a script: every check in its small form, on the CPU."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.long
def test_every_check_of_the_acceptance_run_ends_in_its_small_form() -> None:
    command = [sys.executable, "benchmarks/gpu_acceptance.py", "--device", "cpu"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    rows = [line for line in ended.stdout.splitlines() if line.startswith(("| PASS", "| FAIL", "| INFO"))]
    assert len(rows) >= 20
    assert not [row for row in rows if row.startswith("| FAIL")]
    assert ended.returncode == 0, ended.stdout + ended.stderr
