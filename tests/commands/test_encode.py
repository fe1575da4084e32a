"""launch/encode.py as a user types it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fervit.encoders.registry import fingerprint_of
from fervit.labels.emotions import EMOTIONS
from fervit.latents import LatentSet
from fervit.latents.source import write_source
from tests.conftest import Command, latent_set, write_latents
from tests.helpers.processes import COUNTED_GPU, MISSING_GPU, alone, launch


def test_encoding_on_a_gpu_puts_each_face_into_its_own_split(demo_faces: Path, tmp_path: Path) -> None:
    args = ("--data_root", demo_faces, "--latent_out", tmp_path, "--encoder_type", "demo", "--batch_size", "4")
    encoding = launch("encode", *args, env=alone(**COUNTED_GPU))
    printed = encoding.ended()
    assert encoding.returncode == 0, printed
    assert "1 encoder (1 GPU each)" in printed
    for split, n in {"train": 42, "val": 21, "test": 14}.items():
        latents = LatentSet.read(str(tmp_path / split))
        assert len(latents) == n
        assert {name.split("/")[0] for name in latents.image_ids} == {split}
        assert [EMOTIONS[label] for label in latents.labels] == [name.split("/")[1] for name in latents.image_ids]


@pytest.mark.long
def test_encoding_goes_on_on_the_cpu_where_a_gpu_cannot_be_used_unless_it_was_asked_for(
    demo_faces: Path, tmp_path: Path
) -> None:
    args = ("--data_root", demo_faces, "--latent_out", tmp_path, "--encoder_type", "demo", "--limit", "21")
    encoding = launch("encode", *args, env=alone(**MISSING_GPU))
    printed = encoding.ended()
    assert encoding.returncode == 0, printed
    (said,) = [line for line in printed.splitlines() if line.startswith("GPU of this machine: ")]
    assert said.endswith("running on the CPU (--gpus_per_actor 0 does so without a look)")
    assert "running: 1 encoder (CPU, " in printed
    codes = sorted(tmp_path.glob("*/*.parquet"))
    refused = launch("encode", *args, "--limit", "42", "--gpus_per_actor", "1", env=alone(**MISSING_GPU))
    printed = refused.ended()
    assert refused.returncode == 2
    assert printed.splitlines()[-1].startswith("error: --gpus_per_actor 1: GPU of this machine: ")
    assert sorted(tmp_path.glob("*/*.parquet")) == codes  # what was written stays


def test_bad_input_to_encode_is_one_line_and_status_2(command: Command, demo_faces: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(demo_faces, tmp_path / "faces")
    shutil.rmtree(tmp_path / "faces" / "train" / "sad")
    for args, message in (
        (("--data_root", "empty"), "holds no picture"),
        (("--data_root", "nowhere"), "there is no such file or folder"),
        (("--data_root", "faces"), "split 'train' holds no face of sad"),
        (("--data_root", demo_faces, "--encoder_type", "e4f"), "there is no such encoder; known are"),
        (("--data_root", demo_faces, "--encoder_type", "psp"), "needs --encoder_model"),
        (("--data_root", demo_faces, "--batch_size", "0"), "must be a whole number of 1 or more"),
        (
            ("--data_root", demo_faces, "--limit", "5"),
            "21 classes in all, and each keeps at least one face; give 21",
        ),
    ):
        ended = command("encode", "--latent_out", "latents", "--encoder_type", "demo", *args)
        assert ended.status == 2, args
        assert message in ended.err
        assert ended.err.count("\n") == 1
    assert not (tmp_path / "latents").exists()


def test_another_data_set_is_not_encoded_into_the_codes_of_one(
    command: Command, demo_faces: Path, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    for path in demo_faces.rglob("*.png"):
        new = others / path.relative_to(demo_faces).with_name(f"other_{path.name}")
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, new)
    codes_of_one = replace(latent_set(4), codes=np.zeros((28, 18, 512), np.float16))
    write_latents(tmp_path / "latents" / "train", codes_of_one, encoder=fingerprint_of("demo", None))
    write_source(str(tmp_path / "latents"), str(demo_faces))
    codes = {path: path.read_bytes() for path in (tmp_path / "latents").rglob("*") if path.is_file()}
    ended = command("encode", "--data_root", others, "--latent_out", "latents", "--encoder_type", "demo")
    assert ended.status == 2
    assert f"train holds 28 codes of {demo_faces} and none of {others}; give another folder" in ended.err
    assert {path: path.read_bytes() for path in (tmp_path / "latents").rglob("*") if path.is_file()} == codes


SHORT_OF_MEMORY = """
import ray
import torch
from fervit.encoders import register_encoder

class Short(torch.nn.Module):
    def forward(self, images):
        if ray.is_initialized():  # in Ray's process, not where its codes are looked at first
            raise RuntimeError("CUDA out of memory. Tried to allocate 137.33 GiB.")
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(2).transpose(1, 2)

@register_encoder("short", size=32)
def load(checkpoint):
    return Short()
"""


def test_a_job_that_ends_amid_its_blocks_ends_in_one_line_and_starts_no_other_ray(
    demo_faces: Path, tmp_path: Path
) -> None:
    (tmp_path / "short.py").write_text(SHORT_OF_MEMORY)
    args = ("--data_root", demo_faces, "--latent_out", tmp_path / "latents", "--encoder_module", tmp_path / "short.py")
    encoding = launch("encode", *args, "--encoder_type", "short", "--batch_size", "2", env=alone(FERVIT_DASHBOARD="0"))
    printed = encoding.ended().splitlines()
    assert encoding.returncode == 1
    assert printed[-1].startswith("error: an encoder could not start: memory ran out; lower --batch_size (now 2)")
    assert not [line for line in printed if "Traceback" in line or "WARNING" in line]
