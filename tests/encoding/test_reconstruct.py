"""`--reconstruct` draws faces beside their reconstructions, with a full-size checkpoint, on a real Ray."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fervit.cluster.nodes import Cluster
from fervit.encoders.registry import load_decoder
from fervit.encoding.reconstruct import to_pixels
from fervit.latents import LatentSet
from tests.conftest import Ended
from tests.helpers.official import Official


@pytest.mark.full_size
def test_the_sheet_shows_each_face_beside_its_decoded_code(
    official: Official, demo_faces: Path, cluster: Cluster, command: Callable[..., Ended], tmp_path: Path
) -> None:
    faces = tmp_path / "faces"
    for emotion in ("angry", "sad", "surprise"):
        (faces / emotion).mkdir(parents=True)
        shutil.copy(demo_faces / "test" / emotion / "face_000.png", faces / emotion / "face.png")
    args = ["--data_root", faces, "--latent_out", "latents", "--encoder_model", official.psp, "--allow_missing_classes"]
    ended = command("encode", *args, "--reconstruct", 2)
    assert ended.status == 0, ended.err
    assert "encoded 3 images" in ended.out
    latents = LatentSet.read("latents")
    assert latents.codes.shape == (3, 18, 512)
    sheet = np.asarray(Image.open(tmp_path / "latents" / "reconstructions.png"))
    first_face = Image.open(faces / "angry" / "face.png").resize((256, 256), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(sheet[:256, :256], np.asarray(first_face))
    with torch.inference_mode():
        picture = load_decoder("psp", official.psp)(torch.from_numpy(latents.codes[:1].astype(np.float32)))
    decoded = to_pixels(picture, 256)
    assert np.abs(sheet[:256, 256:512].astype(int) - decoded).max() <= 1
    assert sheet.shape[1] > 2 * 512  # two faces side by side

    again = command("encode", *args, "--reconstruct", 16)  # nothing left to encode: only draws
    assert again.status == 0, again.err
    assert "3 were there before" in again.out


def test_the_demo_encoder_has_no_decoder(demo_faces: Path, command: Callable[..., Ended]) -> None:
    ended = command(
        "encode", "--data_root", demo_faces, "--latent_out", "out", "--encoder_type", "demo", "--reconstruct", 4
    )
    assert ended.status == 2
    assert "has no decoder" in ended.err
    assert not Path("out").exists()
