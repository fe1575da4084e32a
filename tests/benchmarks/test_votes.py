"""The benchmark of votes works as a command: few faces of the real FER2013, two seeds, an epoch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.extra
def test_the_benchmark_of_votes_compares_paired_seeds(shared: Path) -> None:
    faces, votes = shared / "data/fer2013_train_val.csv.gz", shared / "data/ferplus/fer2013new_train_val.csv"
    command = [sys.executable, "-m", "benchmarks.votes", "--data_root", faces, "--votes", votes]
    command += ["--limit", "200", "--seeds", "0", "1", "--epochs", "1"]
    ended = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = [line for line in ended.stdout.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows] == [
        "trained on",
        "FER2013's labels",
        "class of most votes",
        "shares of the votes",
        "class of most votes, minus FER2013's labels, paired",
        "shares of the votes, minus FER2013's labels, paired",
    ]
