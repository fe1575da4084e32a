"""A node that joins during a sweep and whose GPU cannot be used is left out, and said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import pytest

from fervit.cluster import gpus
from fervit.cluster.gpus import GpuFacts, UnusableGpuError, check_gpu, problem_of
from fervit.search.records.events import EpochEnded
from fervit.search.records.journal import read_journal
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.workers.mps import serves
from fervit.training.failure import is_device_fault, is_out_of_memory
from tests.conftest import ROOT, write_splits
from tests.helpers.own_ray import OwnRay
from tests.helpers.processes import Running
from tests.helpers.sweeps import leaderboard

# Ray only counts the GPUs. Where FERVIT_TEST_GPU is set, they are as good as one, and a trial computes on the CPU.
SWEEP = """
import os, sys, time
from functools import partial
from pathlib import Path
from fervit.cluster.connection import connect
from fervit.search.pipeline import run_sweep
from fervit.search.splits import open_splits
from fervit.search.workers.trial import LatentTrial
from tests.helpers.sweeps import space

class Trial(LatentTrial):
    def setup(self, config, *, device, **given):
        self.works = bool(os.environ.get("FERVIT_TEST_GPU"))
        super().setup(config, device="cpu" if self.works else device, **given)

    def step(self):
        tried = self._folder.sweep.path / "tried"
        if not self.works:
            tried.touch()
        while self._folder.path.name != "trial_0000" and not tried.exists():
            time.sleep(0.1)  # the sweep does not end before the other node has been tried
        return super().step()

latents, folder = map(Path, sys.argv[1:])
of = space(
    search={"trials": 8, "sampler": "random"},
    early_stopping={"scheduler": "none", "max_epochs": 2, "grace_epochs": None, "reduction_factor": None},
    trial={"cpus": 1, "gpus": 1},
    fixed={"batch_size": 2},
    confirm={"top": 0},
)
folder.mkdir()
with connect(None, folder / "ray.log") as cluster:
    run_sweep(of, open_splits(str(latents), of), of.trial, folder, cluster, partial(print, flush=True), trainable=Trial)
"""


A100 = GpuFacts(
    torch="2.15.0",
    cuda="13.2",
    hip=None,
    architectures=("sm_80",),
    driver="580.1",
    installed=1,
    visible=None,
    available=True,
    name="NVIDIA A100",
    capability=(8, 0),
    memory=40 * 1024**3,
)


def test_short_memory_and_the_fault_of_a_neighbour_are_not_a_broken_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a trial is told as short of memory, or tried again in a new process, and its node stays in."""
    found = A100
    monkeypatch.setattr(gpus, "look_here", lambda: found)
    check_gpu("cuda", "192.0.2.1")
    found = replace(A100, error="CUDA out of memory. Tried to allocate 16.00 MiB")
    assert "see `nvidia-smi`, or restart" not in problem_of(found)
    with pytest.raises(RuntimeError) as short:
        check_gpu("cuda", "192.0.2.1")
    assert is_out_of_memory(short.value)
    found = replace(A100, error="CUDA error: unspecified launch failure")
    with pytest.raises(RuntimeError) as fault:
        check_gpu("cuda", "192.0.2.1", mps=True)
    assert is_device_fault(fault.value)
    with pytest.raises(UnusableGpuError, match=r"a small product on NVIDIA A100 failed \(CUDA error: unspecified"):
        check_gpu("cuda", "192.0.2.1")


def test_a_daemon_that_was_killed_serves_nobody(tmp_path: Path) -> None:
    """Its folder may still be there when the sweep goes on."""
    assert not serves(tmp_path)
    for left in ("", "not a number", str(os.getpid())):  # the number may be that of another process by now
        (tmp_path / "ready").write_text(left)
        assert not serves(tmp_path)
    program = tmp_path / "nvidia-cuda-mps-control"
    program.symlink_to(shutil.which("sleep") or "sleep")
    daemon = subprocess.Popen([program, "60"])
    try:
        (tmp_path / "ready").write_text(str(daemon.pid))
        assert serves(tmp_path)
    finally:
        daemon.kill()
        daemon.wait()
    assert not serves(tmp_path)


@pytest.fixture
def ray() -> Iterator[OwnRay]:
    folder = Path(mkdtemp(prefix="fvg", dir="/tmp"))
    good = {"FERVIT_TEST_GPU": "1", "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "0"}
    ray = OwnRay(folder, folder.name, {**os.environ, **good})
    yield ray
    ray.end()
    shutil.rmtree(folder)


@pytest.mark.long
def test_a_node_that_joins_later_and_whose_gpu_cannot_be_used_is_left_out(ray: OwnRay, tmp_path: Path) -> None:
    ray.start(gpus=1)
    files = SweepFolder(tmp_path / "sweep")
    without_gpu = {key: value for key, value in ray.environment().items() if key != "FERVIT_TEST_GPU"}
    words = [sys.executable, "-c", SWEEP, write_splits(tmp_path / "latents"), files.path]
    sweep = Running(words, env=without_gpu, cwd=ROOT)
    assert sweep.reaches(lambda: files.journal.is_file() and b'"epoch"' in files.journal.read_bytes()), sweep.printed
    ray.join("127.0.0.2", {"FERVIT_TEST_GPU": ""}, gpus=1)
    printed = sweep.ended()
    assert sweep.returncode == 0, printed
    (said,) = [line for line in printed.splitlines() if line.startswith("GPU of node 127.0.0.2: ")]
    assert "left out" in said
    reason = said.removeprefix("GPU of node 127.0.0.2: ").removesuffix("; that GPU is left out")
    assert len(reason.split()) > 3, said  # whatever is wrong with the GPUs of this machine, in words
    rows = leaderboard(files.path)
    assert [row["state"] for row in rows] == ["finished"] * 8
    assert len({event.node for event in read_journal(files.journal) if isinstance(event, EpochEnded)}) == 1
