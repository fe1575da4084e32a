"""Processes that import fervit, or are started by one that did, give up their cores soon while their threads wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fervit.threads import TURNS


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, TURNS), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "None")],
)
def test_threads_give_up_a_core_soon_unless_the_user_says_how_they_wait(given: dict[str, str], expected: str) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import fervit, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected
