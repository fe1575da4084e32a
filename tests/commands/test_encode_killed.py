"""The encoding job is killed, for real and at random moments; the same command then ends as if nothing had happened."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fervit.cluster.nodes import Cluster
from fervit.images.demo_faces import write_demo_faces
from fervit.latents import LatentSet
from tests.conftest import ROOT
from tests.encoding.test_job import encode

DRIVER, NODE, ACTOR = "driver", "raylet/raylet", "EncoderActor"
VICTIMS = (DRIVER, NODE, DRIVER, ACTOR, DRIVER, NODE, DRIVER, DRIVER, NODE, DRIVER)
"""All of them with `make chaos`, else the first four: one of each kind, and a driver that begins anew."""
COMMAND = """
import runpy, sys
from fervit.encoding import placement
placement.PART_ROWS_DEMO = 16  # more parts, more moments to be killed in
script, *args = sys.argv[1:]
sys.argv = ["encode.py", *args]
runpy.run_path(script, run_name="__main__")
"""


def start(faces: Path, out: Path) -> subprocess.Popen[str]:
    args = ("--data_root", faces, "--latent_out", out, "--encoder_type", "demo", "--precision", "float32")
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, ROOT / "launch" / "encode.py", *args, "--batch_size", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def kill(victim: str, driver: subprocess.Popen[str]) -> bool:
    """kill -9 of the driver, or of the process below it that `victim` names; whether there was one at this moment."""
    if victim == DRIVER:
        running = driver.poll() is None
        driver.kill()
        return running
    for pid in descendants(driver.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if victim in command.partition(" --")[0]:
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def descendants(pid: int) -> list[int]:
    """The processes below one; Ray's raylet is a child of the driver, its workers are children of the raylet."""
    found, above = [], {pid}
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    while above:
        above = {child for child, parent in parents.items() if parent in above}
        found += sorted(above)
    return found


def assert_equal(found: LatentSet, expected: LatentSet) -> None:
    assert found.image_ids == expected.image_ids
    assert found.sha256 == expected.sha256
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.codes.view(np.uint16), expected.codes.view(np.uint16))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("victims", [VICTIMS[:4], pytest.param(VICTIMS, marks=pytest.mark.chaos)], ids=len)
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
        assert driver.stdout is not None
        if killed < len(victims):
            if turn % 5:
                for line in driver.stdout:
                    if line.startswith("running:"):
                        break  # from here on it takes some 15 s
            time.sleep(moments.uniform(0.2, 13.0))
            killed += kill(victims[killed], driver)
        output, _ = driver.communicate(timeout=120)
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
