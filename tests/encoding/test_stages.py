"""The encoding job on a GPU that Ray counts but that does not exist. The arithmetic runs on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fervit.emotions import SPLITS
from fervit.encoding.stages import EncoderActor, write_block
from fervit.latents import LatentSet
from tests.helpers.encoding import DEMO, demo_fingerprint


def test_a_block_of_several_splits_is_written_into_the_folder_of_each(tmp_path: Path) -> None:
    fingerprint = demo_fingerprint()
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


def test_a_code_that_is_not_finite_is_an_error_of_its_face() -> None:
    actor = EncoderActor(DEMO, demo_fingerprint(), batch_size=2, device="cpu", threads=1)
    actor.runner.encoder.latent_avg[3] = 1e6  # beyond float16
    block = {"pixels": np.zeros((2, 64, 64, 3), np.uint8), "error": np.array(["", "cut off"])}
    done = actor(block)
    assert "not finite" in done["error"][0]
    assert done["error"][1] == "cut off"
    assert np.isfinite(done["latent"]).all()
