"""Faces are shown in a report, and not with --no_faces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.images.pictures import pixels_sha256
from fervit.labels.emotions import EMOTIONS
from fervit.report.results import Results
from tests.conftest import CONFIG, Command, latent_set, trained, write_latents


def test_no_faces_shows_none(tmp_path: Path, command: Command) -> None:
    latents = latent_set(2)
    pixels = np.random.default_rng(0).integers(0, 255, (len(latents), 256, 256, 3)).astype(np.uint8)
    names = [f"{EMOTIONS[label]}/{i}.png" for i, label in enumerate(latents.labels)]
    for name, picture in zip(names, pixels, strict=True):
        (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "faces" / name)
    hashed = replace(latents, image_ids=names, sha256=[pixels_sha256(picture) for picture in pixels])
    write_latents(tmp_path / "latents/test", hashed)
    save_checkpoint(trained(replace(CONFIG, epochs=1)), tmp_path / "best_model.pt")
    data = ("--data_root", tmp_path / "faces")
    given = ("--checkpoint_path", tmp_path / "best_model.pt", "--latent_test_dir", tmp_path / "latents/test", *data)
    ended = command("evaluate", *given, "--output_dir", tmp_path / "results", "--visualize_samples", 1, "--no_faces")
    assert ended.status == 0, ended.err
    assert "attention_sample_0.png" in ended.out
    page = tmp_path / "results/report.html"
    for flags, shown in (((), True), (("--no_faces",), False)):
        ended = command("report", tmp_path / "results", *data, *flags)
        assert ended.status == 0, ended.err
        assert ("data:image/jpeg" in page.read_text()) is shown
    assert "Pictures of faces are not shown" in page.read_text()


@pytest.mark.parametrize("later", [False, True])
def test_a_sweep_that_was_begun_or_resumed_without_faces_shows_none(later: bool, tmp_path: Path) -> None:
    environment = {"sessions": [{"no_faces": True}]} if later else {"no_faces": True, "sessions": []}
    assert Results(folder=tmp_path, kind="sweep", environment=environment).no_faces
    assert not Results(folder=tmp_path, kind="sweep", environment={"sessions": [{}]}).no_faces
