"""The encoding job as Ray places it on a GPU. Ray counts one that is not there; the arithmetic runs on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from fervit.emotions import EMOTIONS, SPLITS
from fervit.encoders.registry import fingerprint_of
from fervit.encoding.stages import write_block
from fervit.latents import LatentSet
from tests.conftest import ROOT

COUNTED_GPU = {"RAY_OVERRIDE_RESOURCES": json.dumps({"GPU": 1}), "FERVIT_DEVICE": "cpu"}


def test_encoding_on_a_gpu_puts_each_face_into_its_own_split(demo_faces: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | COUNTED_GPU
    args = ("--data_root", demo_faces, "--latent_out", tmp_path, "--encoder_type", "demo", "--batch_size", "4")
    done = subprocess.run(
        [sys.executable, ROOT / "launch" / "encode.py", *map(str, args)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1 encoder (1 GPU each)" in done.stdout
    for split, n in {"train": 42, "val": 21, "test": 14}.items():
        latents = LatentSet.read(str(tmp_path / split))
        assert len(latents) == n
        assert {name.split("/")[0] for name in latents.image_ids} == {split}
        assert [EMOTIONS[label] for label in latents.labels] == [name.split("/")[1] for name in latents.image_ids]


def test_a_block_of_several_splits_is_written_into_the_folder_of_each(tmp_path: Path) -> None:
    fingerprint = fingerprint_of("demo")
    splits = np.array(["val", "train", "test", "val", "train"], object)
    block = {
        "image_id": np.array([f"{split}/{i}.png" for i, split in enumerate(splits)], object),
        "split": splits,
        "label": np.arange(5),
        "sha256": np.array(["", "a", "b", "c", "d"], object),
        "latent": np.ones((5, 18, 512), np.float16) * np.arange(5)[:, None, None],
        "error": np.array(["unreadable", "", "", "", ""], object),
    }
    receipts = write_block(block, {split: str(tmp_path / split) for split in SPLITS}, fingerprint)
    assert receipts["split"].tolist() == splits.tolist()
    assert receipts["fatal"].tolist() == [""] * 5
    for split, ids in {"train": ["train/1.png", "train/4.png"], "val": ["val/3.png"], "test": ["test/2.png"]}.items():
        latents = LatentSet.read(str(tmp_path / split))
        assert latents.image_ids == ids
        assert latents.codes[:, 0, 0].tolist() == [int(name.split("/")[1][0]) for name in ids]
