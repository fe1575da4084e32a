"""Kills the preprocessing job while it runs. The same command must then end as if nothing had happened."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fervit.cluster.nodes import Cluster
from tests.conftest import ROOT, Ended
from tests.helpers.processes import DRIVER, NODE, Running, alone, kill

N = 280


def pngs(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*.png") if not path.name.startswith(".") and path.parent != out)


@pytest.mark.kills
@pytest.mark.parametrize("victim", [DRIVER, pytest.param(NODE, marks=pytest.mark.chaos)])
def test_a_killed_job_goes_on_and_ends_as_an_undisturbed_one(
    cluster: Cluster, command: Callable[..., Ended], shared: Path, tmp_path: Path, victim: str
) -> None:
    detector = shared / "data" / "yunet" / "yunet_n_dynamic.onnx"
    given = ("--input_dir", shared / "data" / "fer2013_train_val.csv.gz", "--limit", N, "--face_detector", detector)
    assert command("preprocess", *given, "--output_dir", tmp_path / "undisturbed").status == 0
    expected, out = pngs(tmp_path / "undisturbed"), tmp_path / "faces"
    script = [sys.executable, ROOT / "launch" / "preprocess.py", *given, "--output_dir", out]
    job = Running([str(word) for word in script], env=alone())
    job.reaches(lambda: len(pngs(out)) >= 20)
    kill(victim, job)
    output = job.ended()
    assert job.returncode != 0, output
    assert victim == DRIVER or "Traceback" not in output
    before = {path: path.stat().st_mtime_ns for path in pngs(out)}
    assert 20 <= len(before) < len(expected)

    ended = command("preprocess", *given, "--output_dir", out)
    assert ended.status == 0, ended.err
    told = re.search(r"aligned (\d+) faces.*, (\d+) were there before", ended.out)
    assert told is not None
    # Tasks whose driver is gone may have written some more.
    assert int(told[1]) + int(told[2]) == len(expected)
    assert int(told[2]) >= len(before)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [path.relative_to(out) for path in pngs(out)] == [
        path.relative_to(tmp_path / "undisturbed") for path in expected
    ]
    for path, other in zip(pngs(out), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(other)))
    lists = (folder / "train/_errors.jsonl" for folder in (out, tmp_path / "undisturbed"))
    assert len({tuple(sorted(path.read_text().splitlines())) for path in lists}) == 1
    assert not list(out.rglob(".*.png.*"))
