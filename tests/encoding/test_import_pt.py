"""The import of earlier scripts' files, one `.pt` for each face, on a real Ray."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fervit.cluster.nodes import Cluster
from fervit.encoding.import_pt import fingerprint_of_pt, index_pt, load_block
from fervit.encoding.job import encode_faces
from fervit.encoding.plan import EncodePlan, plan_encoding
from fervit.errors import UserError
from fervit.labels.emotions import EMOTIONS, KAGGLE_EMOTIONS
from fervit.latents import LatentSet


class Evil:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self.witness),)  # type: ignore[return-value]


@pytest.fixture
def old_files(tmp_path: Path) -> Path:
    """Writes two files for each class and split, one of them with the class number of Kaggle."""
    folder = tmp_path / "old"
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        for label, emotion in enumerate(EMOTIONS):
            for i, number in enumerate((label, KAGGLE_EMOTIONS.index(emotion))):
                content = {
                    "latent": torch.from_numpy(rng.normal(size=(18, 512)).astype(np.float32)),
                    "label": number,
                    "img_path": f"dataset/{split}/{emotion}/{i}.jpg",
                }
                torch.save(content, folder / split / f"{emotion}_Training_{i}.pt")
    return folder


def plan(folder: Path, out: Path, kind: str | None = None) -> EncodePlan:
    index = index_pt(str(folder))
    return plan_encoding(index, str(out), None, fingerprint_of_pt(index, kind, ""))


def test_codes_keep_their_numbers_and_get_the_emotion_of_their_name(
    old_files: Path, cluster: Cluster, tmp_path: Path
) -> None:
    out = tmp_path / "latents"
    assert encode_faces(plan(old_files, out), None).done == 28
    for split in ("train", "val"):
        latents = LatentSet.read(str(out / split))
        assert len(latents) == 14
        for image_id, label, code in zip(latents.image_ids, latents.labels, latents.codes, strict=True):
            prefix, emotion, name = image_id.split("/")
            assert (prefix, emotion) == (split, EMOTIONS[label])
            content = torch.load(old_files / split / f"{emotion}_{name}.pt", weights_only=True)
            np.testing.assert_array_equal(code, content["latent"].numpy().astype(np.float16))
    assert (latents.encoder.encoder, latents.encoder.imported) == ("unknown", True)
    assert len(plan(old_files, out)) == 0


def test_files_that_cannot_be_used_are_listed_and_stop_nothing(
    old_files: Path, cluster: Cluster, tmp_path: Path
) -> None:
    witness = tmp_path / "executed"
    code = torch.zeros(18, 512)
    for name, content in {
        "happy_evil": {"latent": Evil(witness)},
        "happy_short": {"latent": torch.zeros(14, 512)},
        "happy_nan": {"latent": torch.full((18, 512), torch.nan)},
        "happy_other": {"latent": code, "label": 0},
        "happy_none": {"code": code},
        "hapy_name": {"latent": code, "label": 3},
    }.items():
        torch.save(content, old_files / "val" / f"{name}.pt")
    (old_files / "val" / "sad_page.pt").write_text("<html>")
    out = tmp_path / "latents"
    summary = encode_faces(plan(old_files, out), None)
    assert (summary.done, summary.failed) == (28, 7)
    assert not witness.exists()
    rows = [json.loads(line) for line in (out / "val" / "_errors.jsonl").read_text().splitlines()]
    reasons = {row["image_id"].rpartition("/")[2]: row["reason"] for row in rows}
    for name, reason in {
        "evil": "wants to run code",
        "short": "its latent is [14, 512], the others' [18, 512]",
        "nan": "not finite",
        "other": "its label 0 contradicts its name: happy is 3",
        "none": "no tensor under 'latent'",
        "hapy_name": "does not begin with one of the seven emotions",
        "page": "web page",
    }.items():
        assert reason in reasons[name]


def test_imported_and_encoded_codes_do_not_mix(old_files: Path, cluster: Cluster, tmp_path: Path) -> None:
    encode_faces(plan(old_files, tmp_path / "latents", kind="psp"), None)
    with pytest.raises(UserError, match="another encoder"):
        plan(old_files, tmp_path / "latents", kind="e4e")


def test_a_folder_without_such_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \.pt file"):
        index_pt(str(tmp_path))
    with pytest.raises(UserError, match="there is no such folder"):
        index_pt(str(tmp_path / "nowhere"))
    (tmp_path / "happy_1.pt").write_text("nothing")
    with pytest.raises(UserError, match="not one file can be read"):
        fingerprint_of_pt(index_pt(str(tmp_path)), None, "")


def test_files_in_class_folders_are_known_by_their_folders(tmp_path: Path) -> None:
    for split in ("Training", "valid"):
        for emotion in ("Anger", "happiness"):
            (tmp_path / split / emotion).mkdir(parents=True)
            torch.save({"latent": torch.zeros(18, 512)}, tmp_path / split / emotion / "00012.pt")
    (tmp_path / "Training" / "notes.txt").write_text("hello")
    index = index_pt(str(tmp_path))
    assert index.table["label"].to_pylist() == [0, 3, 0, 3]
    assert index.splits() == ["train", "val"]
    assert index.passed_over == (("Training/notes.txt", "no .pt file"),)


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".npz"])
def test_a_whole_split_in_one_file_is_imported_once_the_order_of_its_labels_is_known(
    tmp_path: Path, suffix: str
) -> None:
    codes = np.random.default_rng(0).normal(size=(14, 18, 512)).astype(np.float32)
    numbers = np.arange(14) % 7
    path = tmp_path / f"train_latents{suffix}"
    if suffix == ".pt":
        torch.save({"latents": torch.from_numpy(codes), "labels": torch.from_numpy(numbers)}, path)
    elif suffix == ".npz":
        np.savez(path, codes=codes, y=numbers)
    else:
        np.save(path, codes)
        np.save(tmp_path / "train_labels.npy", numbers)
    with pytest.raises(UserError, match=r"its labels are numbers, .* --label_order: alphabetical"):
        index_pt(str(tmp_path))
    for order, names in (("alphabetical", EMOTIONS), ("kaggle", KAGGLE_EMOTIONS)):
        index = index_pt(str(tmp_path), order)  # type: ignore[arg-type]
        assert [EMOTIONS[label] for label in index.table["label"].to_pylist()[:7]] == list(names)
    assert index.splits() == ["train"]
    found = load_block(index.table, fingerprint_of_pt(index, None, ""))
    assert not any(found["error"])
    np.testing.assert_array_equal(found["latent"], codes.astype(np.float16))
    alone = index_pt(str(path), "kaggle") if suffix != ".npy" else index
    assert len(alone.table) == 14
