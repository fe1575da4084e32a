"""Faces and codes on an object store: a real S3 server on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from PIL import Image

from fervit.errors import UserError
from fervit.images.index import open_faces
from fervit.io import storage
from fervit.io.storage import child, locate
from fervit.latents import LatentSet
from tests.conftest import ROOT


@pytest.fixture
def s3(moto_server: str) -> pafs.S3FileSystem:
    """An empty object store with the bucket `faces`, for this process and its children."""
    storage._from_uri.cache_clear()  # of the last test's server
    filesystem, bucket = pafs.FileSystem.from_uri("s3://faces?allow_bucket_creation=true")
    filesystem.create_dir(bucket)
    return filesystem


def encode(*args: str) -> subprocess.CompletedProcess[str]:
    return launch("encode", *args)


def launch(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    script = ROOT / "launch" / f"{name}.py"
    return subprocess.run([sys.executable, script, *args], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.extra
def test_faces_are_read_from_and_codes_written_to_an_object_store(demo_faces: Path, s3: pafs.S3FileSystem) -> None:
    odd = "happy/é #1?.png"
    for split in ("train", "val"):
        for path in sorted((demo_faces / split).rglob("face_00[01].png")):
            with s3.open_output_stream(f"faces/all of them/{path.relative_to(demo_faces)}") as stream:
                stream.write(path.read_bytes())
    with s3.open_output_stream(f"faces/all of them/val/{odd}") as stream:
        stream.write((demo_faces / "val" / "happy" / "face_002.png").read_bytes())
    with s3.open_output_stream("faces/all of them/val/sad/cut.png") as stream:
        stream.write(b"\x89PNG")
    args = ("--data_root", "s3://faces/all%20of%20them", "--latent_out", "s3://faces/latents", "--encoder_type", "demo")
    first = encode(*args, "--batch_size", "16")
    assert first.returncode == 0, first.stderr
    assert "encoded 29 images" in first.stdout
    assert "1 failed" in first.stdout

    val = LatentSet.read("s3://faces/latents/val")
    assert f"val/{odd}" in val.image_ids
    assert len(val) == 15
    names = {info.base_name for info in s3.get_file_info(pafs.FileSelector("faces/latents/val"))}
    assert all(name.startswith("part-") or name == "_errors.jsonl" for name in names)
    with s3.open_input_stream("faces/latents/val/_errors.jsonl") as stream:
        assert json.loads(stream.readall())["image_id"] == "val/sad/cut.png"

    again = encode(*args)
    assert again.returncode == 0, again.stderr
    assert "encoded 0 images" in again.stdout
    assert "29 were there before" in again.stdout


@pytest.mark.extra
def test_faces_are_cut_out_of_pictures_of_an_object_store(shared: Path, s3: pafs.S3FileSystem) -> None:
    csv = open_faces(str(shared / "data" / "fer2013_train_val.csv.gz")).limited(14)
    for i, face in enumerate(csv.stream()):
        canvas = Image.new("RGB", (300, 300), (120, 130, 140))
        canvas.paste(Image.fromarray(face.pixels).resize((140, 140)), (80, 60))
        with s3.open_output_stream(f"faces/raw/train/happy/{i}.jpg") as stream:
            canvas.save(stream, "JPEG")
    with s3.open_output_stream("faces/raw/train/happy/torn.jpg") as stream:
        stream.write(b"torn")
    detector = str(shared / "data" / "yunet" / "yunet_n_dynamic.onnx")
    args = ("--input_dir", "s3://faces/raw", "--output_dir", "s3://faces/cut", "--face_detector", detector)
    first = launch("preprocess", *args)
    assert first.returncode == 0, first.stderr
    index = open_faces("s3://faces/cut")
    assert len(index.table) >= 10
    assert {face.pixels.shape for face in index.stream()} == {(256, 256, 3)}
    with s3.open_input_stream("faces/cut/train/_errors.jsonl") as stream:
        failed = [json.loads(line)["image_id"] for line in stream.readall().splitlines()]
    assert "train/happy/torn.jpg" in failed
    assert len(index.table) + len(failed) == 15
    assert s3.get_file_info("faces/cut/preview.png").is_file
    again = launch("preprocess", *args)
    assert f"aligned 0 faces, {len(index.table)} were there before" in again.stdout, again.stderr


def test_a_store_or_a_prefix_that_is_not_there_is_one_line(s3: pafs.S3FileSystem) -> None:
    for uri in ("s3://faces/nothing", "s3://nowhere/at/all"):
        with pytest.raises(UserError, match="there is no such file or folder"):
            open_faces(uri)
    with pytest.raises(UserError, match="no latents here"):
        LatentSet.read("s3://faces/latents/train")


def test_a_uri_that_carries_a_secret_is_refused_without_showing_it() -> None:
    for uri in (
        "s3://user:hunter2@bucket/faces",
        "s3://user:hun/hunter2@bucket/faces",
        "s3://bucket/faces?secret_key=hunter2",
    ):
        with pytest.raises(UserError, match="AWS_SECRET_ACCESS_KEY") as error:
            locate(uri)
        assert "hunter2" not in str(error.value)


def test_options_of_a_uri_stay_at_its_end() -> None:
    assert child("s3://bucket/latents?scheme=http", "train") == "s3://bucket/latents/train?scheme=http"
    assert child("s3://bucket/latents/", "a b#") == "s3://bucket/latents/a%20b%23"
    assert child("latents/", "train") == "latents/train"
    assert child("/", "train") == "/train"
