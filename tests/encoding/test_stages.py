"""The encoding job on a GPU that Ray counts but that does not exist. The arithmetic runs on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fervit.encoders.runner import Codes, EncoderRunner
from fervit.encoding.failures import FLOAT32_FILE, FaceList, read_faces, write_faces
from fervit.encoding.stages import EncoderActor, write_block
from fervit.labels.emotions import SPLITS
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
    assert not done["in_float32"].any()
    assert np.isfinite(done["latent"]).all()


class Failing(EncoderRunner):
    """A real runner whose device fails with an error of PyTorch's."""

    error = ""

    def encode(self, pixels_nhwc: np.ndarray) -> Codes:
        raise RuntimeError(self.error)


def test_what_ends_a_job_says_whether_memory_or_the_gpu_was_the_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fervit.encoders.runner.EncoderRunner", Failing)
    actor = EncoderActor(DEMO, demo_fingerprint(), batch_size=2, device="cpu", threads=1)
    block = {"pixels": np.zeros((2, 64, 64, 3), np.uint8), "error": np.array(["", ""])}
    for error, message in (
        ("CUDA out of memory. Tried", "an encoder failed: memory ran out; lower --batch_size (now 2) or --actors"),
        ("an algorithm is missing", "an encoder failed: an algorithm is missing; if memory ran out, lower --batch"),
        ("CUDA error: an illegal memory access", "an encoder failed: its GPU failed (CUDA error: an illegal memory"),
    ):
        monkeypatch.setattr(Failing, "error", error)
        assert actor(dict(block))["fatal"][0].startswith(message)


def test_a_face_whose_code_is_not_finite_in_float16_arithmetic_is_encoded_in_float32(tmp_path: Path) -> None:
    fingerprint = replace(demo_fingerprint(), precision="float16")
    half = replace(DEMO, precision="float16")
    actor = EncoderActor(half, fingerprint, batch_size=2, device="cpu", threads=1)
    exact = EncoderActor(DEMO, demo_fingerprint(), batch_size=2, device="cpu", threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    errors = np.array(["", "", "cut off", "", ""])
    undisturbed = actor({"pixels": pixels, "error": errors})
    assert not undisturbed["in_float32"].any()
    expected = exact({"pixels": pixels, "error": errors})["latent"]
    off = np.linalg.norm((undisturbed["latent"] - expected).astype(float)) / np.linalg.norm(expected.astype(float))
    assert 0 < off < 5e-3  # bfloat16 is 2e-2 off on these pictures

    # The same codes, by numbers in one layer that for some of the faces end beyond float16.
    head = actor.runner.encoder.network.styles[7]
    peaks: list[torch.Tensor] = []
    hook = head.convs[-2].register_forward_hook(lambda _, __, output: peaks.append(output.abs().amax(dim=1)))
    actor({"pixels": pixels, "error": errors})
    hook.remove()
    factor = 65504 / torch.cat(peaks)[:4].median().item()
    for tensor in (head.convs[-2].weight, head.convs[-2].bias):
        tensor.data.mul_(factor * 0.999)
    head.linear.weight.data.div_(factor * 0.999)
    done = actor({"pixels": pixels, "error": errors})
    assert done["error"].tolist() == errors.tolist()
    again = done["in_float32"]
    assert 0 < again.sum() < 4
    assert not again[2]
    np.testing.assert_allclose(done["latent"][again], expected[again], rtol=2e-3, atol=1e-4)
    assert done["latent"].dtype == np.float16
    assert (done["latent"][~again, :7] == undisturbed["latent"][~again, :7]).all()  # each face by itself

    names = np.array([f"test/{i}.png" for i in range(5)], object)
    whole = {**done, "image_id": names, "split": np.array(["test"] * 5, object), "label": np.arange(5), "sha256": names}
    receipts = write_block(whole, {"test": str(tmp_path)}, fingerprint)
    assert receipts["in_float32"].tolist() == again.tolist()
    assert LatentSet.read(str(tmp_path)).encoder.precision == "float16"


def test_faces_encoded_in_float32_are_listed_beside_those_of_earlier_jobs(tmp_path: Path) -> None:
    write_faces(str(tmp_path), {"a.png": "before"}, FLOAT32_FILE)
    found = FaceList({"val": str(tmp_path), "test": str(tmp_path / "none")}, None, FLOAT32_FILE)
    found.add("val", "b.png", "now")
    found.write()
    assert read_faces(str(tmp_path), FLOAT32_FILE) == {"a.png": "before", "b.png": "now"}
    assert read_faces(str(tmp_path)) == {}
    assert found.added == 1
    assert not (tmp_path / "none").exists()
