"""Kills the encoding job at random moments. The same command must then end as if nothing had happened."""

from __future__ import annotations

import itertools
import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fervit.cluster.nodes import Cluster
from fervit.images.demo_faces import write_demo_faces
from fervit.latents import LatentSet
from tests.conftest import ROOT
from tests.helpers.encoding import encode
from tests.helpers.processes import ACTOR, COUNTED_GPU, DRIVER, NODE, Running, alone, kill

VICTIMS = (DRIVER, NODE, DRIVER, ACTOR, DRIVER, NODE, DRIVER, DRIVER, NODE, DRIVER)
"""The processes that are killed: all of them with `make chaos`, and otherwise the first three."""
PARTS = 7 * 27 // 16
"""The approximate number of parts of 16 rows that an undisturbed job writes."""
COMMAND = """
import runpy, sys
from fervit.encoding import placement
placement.PART_ROWS_DEMO = 16  # more parts, more moments to be killed in
script, *args = sys.argv[1:]
sys.argv = ["encode.py", *args]
runpy.run_path(script, run_name="__main__")
"""


def start(faces: Path, out: Path) -> Running:
    """Starts the job on a GPU that Ray only counts, whose actor has two blocks at a time."""
    args = ("--data_root", faces, "--latent_out", out, "--encoder_type", "demo", "--precision", "float32")
    script = ROOT / "launch" / "encode.py"
    return Running([sys.executable, "-c", COMMAND, script, *args, "--batch_size", "2"], env=alone(**COUNTED_GPU))


def assert_equal(found: LatentSet, expected: LatentSet) -> None:
    assert found.image_ids == expected.image_ids
    assert found.sha256 == expected.sha256
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.codes.view(np.uint16), expected.codes.view(np.uint16))


@pytest.mark.kills
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("victims", [VICTIMS[:3], pytest.param(VICTIMS, marks=pytest.mark.chaos)], ids=len)
def test_killed_at_random_moments_the_job_ends_as_an_undisturbed_one(
    cluster: Cluster, tmp_path: Path, victims: tuple[str, ...]
) -> None:
    faces = tmp_path / "faces"
    write_demo_faces(faces, {"train": 24, "val": 3}, seed=3)
    encode(faces, tmp_path / "undisturbed", cluster, batch_size=2)
    expected = {split: LatentSet.read(str(tmp_path / "undisturbed" / split)) for split in ("train", "val")}

    moments = random.Random(7)
    out = tmp_path / "latents-0"
    killed = finished = 0
    for turn in itertools.count():
        driver = start(faces, out)
        if killed < len(victims):
            if turn % 5 == 0:
                time.sleep(moments.uniform(0.2, 6.0))  # somewhere in its start
            elif driver.says("running:"):
                there, more = len(list(out.rglob("part-*"))), moments.randrange(PARTS // 2)
                driver.reaches(lambda out=out, n=there + more: len(list(out.rglob("part-*"))) >= n)  # type: ignore[misc]
                time.sleep(moments.uniform(0.0, 1.0))
            killed += kill(victims[killed], driver)
        output = driver.ended()
        for split in ("train", "val"):
            if list((out / split).glob("*.parquet")):
                LatentSet.read(str(out / split))  # no half file, no face twice
        if driver.returncode != 0:
            assert killed, output
            assert "Traceback" not in output
            continue
        assert "0 failed" in output
        for split, latents in expected.items():
            assert_equal(LatentSet.read(str(out / split)), latents)
        assert not list(out.rglob(".part-*"))
        if killed == len(victims):
            break
        finished += 1
        out = tmp_path / f"latents-{finished}"
