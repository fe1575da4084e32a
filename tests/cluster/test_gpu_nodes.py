"""A node whose GPU nobody has looked at, and that turns out to be of no use, is left out by encoding and training."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from fervit.latents import LatentSet
from tests.conftest import ROOT
from tests.helpers.own_ray import OwnRay
from tests.helpers.processes import Running

# Ray only counts the GPUs. Where FERVIT_TEST_GPU is set, they are as good as one, and the CPU computes.
ENCODE = """
import os, sys
import fervit.api.encode as api
import fervit.encoding.job as job
from fervit.cluster.gpus import GpuLook
from fervit.encoding.stages import EncoderActor

class Encoder(EncoderActor):
    def __init__(self, *, device, **given):
        super().__init__(device="cpu" if os.environ.get("FERVIT_TEST_GPU") else device, **given)

job.EncoderActor = Encoder
api.look_at_gpus = GpuLook.none  # nobody has looked
faces, out = sys.argv[1:]
def say(line):
    print(line, flush=True)

done = api.encode(faces, out, encoder_type="demo", precision="float32", batch_size=2, say=say)
print("done", done.done, done.present, done.failed)
"""
TRAIN = """
import os, sys
import fervit.cluster.gpu_look as look
import fervit.runs.distributed as distributed
from fervit.api.train import train
from fervit.cluster.gpus import GpuLook

whole = distributed.train_on_worker

def train_on_worker(job):
    works = os.environ.get("FERVIT_TEST_GPU")
    return whole({**job, "device": "cpu"} if works else job)

distributed.train_on_worker = train_on_worker
look.look_at_gpus = GpuLook.none  # nobody has looked
latents, out = sys.argv[1:]
def say(line):
    print(line, flush=True)

small = dict(epochs=2, seq_len=0, latent_dim=16, embed_dim=16, depth=1, heads=2, mlp_dim=16)
done = train(f"{latents}/train", f"{latents}/val", output_dir=out, address="auto", say=say, **small)
print("done", done.state, done.epochs)
"""


@pytest.fixture
def ray() -> Iterator[OwnRay]:
    """A Ray of one node, which has a GPU that cannot be used, and that nobody has looked at."""
    folder = Path(mkdtemp(prefix="fvn", dir="/tmp"))
    more = {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "0"}
    ray = OwnRay(folder, folder.name, {**os.environ, **more})
    ray.start(gpus=1)
    yield ray
    ray.end()
    shutil.rmtree(folder)


def run(ray: OwnRay, program: str, *args: Path) -> str:
    """Runs a program on that node and on one with a good GPU, which joins when the first is left out."""
    may_join = {"FERVIT_NODE_TYPES": json.dumps({"good": {"resources": {"CPU": 2, "GPU": 1}, "max_workers": 1}})}
    running = Running([sys.executable, "-c", program, *args], env={**ray.environment(), **may_join}, cwd=ROOT)
    assert running.says("GPU of node "), running.printed
    ray.join("127.0.0.2", {"FERVIT_TEST_GPU": "1"}, gpus=1)
    printed = running.ended()
    assert running.returncode == 0, printed
    (said,) = [line for line in printed.splitlines() if line.startswith("GPU of node ")]
    assert said.endswith("; that GPU is left out")
    assert len(said.split()) > 9, said  # whatever is wrong with the GPUs of this machine, in words
    return printed


@pytest.mark.long
def test_encoding_goes_on_without_a_node_whose_gpu_cannot_be_used(
    ray: OwnRay, demo_faces: Path, tmp_path: Path
) -> None:
    run(ray, ENCODE, demo_faces, tmp_path / "out")
    for split, n in {"train": 42, "val": 21, "test": 14}.items():
        latents = LatentSet.read(str(tmp_path / "out" / split))
        assert len(latents) == len(set(latents.image_ids)) == n


@pytest.mark.long
def test_a_training_goes_on_without_a_node_whose_gpu_cannot_be_used(
    ray: OwnRay, latents_folder: Path, tmp_path: Path
) -> None:
    printed = run(ray, TRAIN, latents_folder, tmp_path / "out")
    assert "done finished 2" in printed
    (folder,) = (tmp_path / "out").iterdir()
    assert [json.loads(line)["epoch"] for line in (folder / "history.jsonl").read_text().splitlines()] == [1, 2]
