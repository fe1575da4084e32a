"""The import of earlier scripts' files, one `.pt` for each face, on a real Ray."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fervit.cluster.nodes import Cluster
from fervit.encoding.arrays import LabelOrder
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


def code(n: int | None = None) -> torch.Tensor:
    return torch.randn(*(() if n is None else (n,)), 18, 512)


def saved(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, np.asarray(content))
    elif path.suffix == ".npz":
        np.savez(path, **content)  # type: ignore[arg-type]
    else:
        torch.save(content, path)


def imported(folder: Path, order: LabelOrder | None = None) -> list[tuple[str, str]]:
    """The split and the class of each face that is imported from a folder."""
    index = index_pt(str(folder), order)
    found = load_block(index.table, fingerprint_of_pt(index, None, ""))
    assert not any(found["error"]), found["error"]
    assert np.isfinite(found["latent"]).all()
    assert found["latent"].any(axis=(1, 2)).all()
    columns = (index.table[name].to_pylist() for name in ("split", "label"))
    return [(split, EMOTIONS[label]) for split, label in zip(*columns, strict=True)]


@pytest.mark.parametrize(
    "files",
    [
        {"train/happy/1.pt": code(), "train/sad/2.pt": code(1)},
        {"train/happy/1.npy": code(), "train/sad/2.npz": {"latent": code(1).numpy()}},
        {"train/1.pt": {"w": code(), "label": "happy"}, "train/2.pt": {"latent": code(), "label": "Sadness"}},
        {"train/happy_1.pt": {"latent": code().numpy(), "label": np.int64(3)}, "train/sad/latents.pt": code(1)},
        {"train/happy/latents.pt": code(1), "train/sad.pt": code(1)},
        {"train.pt": {"latents": code(2).numpy(), "labels": np.array(["happy", "sad"])}},
        {"train.pt": (code(2), ["happy", "sad"])},
        {"train.pt": [{"latent": code(), "label": "happy"}, {"latent": code(), "label": "sad"}]},
        {"train.pt": {"latents": code(2), "labels": torch.tensor([1, 0]), "class_to_idx": {"sad": 0, "happy": 1}}},
        {"train.pt": {"latents": code(2), "labels": torch.tensor([1, 2]), "id2label": {1: "happy", 2: "sad"}}},
        {"train.npz": {"latents": code(2).numpy(), "labels": np.array([b"happy", b"sad"])}},
    ],
    ids=lambda files: "+".join(files),
)
def test_codes_are_imported_in_whichever_form_scripts_save_them(tmp_path: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        saved(tmp_path / name, content)
    assert imported(tmp_path) == [("train", "happy"), ("train", "sad")]


def test_whole_classes_in_a_file_each_one_hot_labels_and_flat_codes(tmp_path: Path) -> None:
    for emotion in ("happy", "sad"):
        saved(tmp_path / "e4e" / "train" / emotion / "latents.pt", code(3))  # as e4e's script writes a folder
    assert imported(tmp_path / "e4e") == [("train", "happy")] * 3 + [("train", "sad")] * 3
    one_hot = torch.eye(7)[[3, 5]]
    saved(tmp_path / "flat" / "val.pt", {"latents": code(2).reshape(2, -1), "labels": one_hot})
    assert imported(tmp_path / "flat", "alphabetical") == [("val", "happy"), ("val", "sad")]
    with pytest.raises(UserError, match="its labels are numbers"):
        index_pt(str(tmp_path / "flat"))


def test_a_split_may_be_a_link_and_a_link_to_nowhere_is_listed(tmp_path: Path) -> None:
    saved(tmp_path / "elsewhere" / "happy_1.pt", {"latent": code()})
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "train").symlink_to(tmp_path / "elsewhere")
    assert imported(tmp_path / "old") == [("train", "happy")]
    (tmp_path / "elsewhere" / "happy_2.pt").symlink_to("gone.pt")
    (tmp_path / "elsewhere" / ".hidden.pt").touch()
    index = index_pt(str(tmp_path / "old"))
    errors = list(load_block(index.table, fingerprint_of_pt(index, None, ""))["error"])
    assert errors[0] == ""
    assert "FileNotFoundError" in errors[1]
    assert index.passed_over == (("train/.hidden.pt", "hidden"),)


def test_numbers_in_files_without_names_wait_for_their_order(tmp_path: Path) -> None:
    saved(tmp_path / "train" / "001.pt", {"latent": code(), "label": 4})
    index = index_pt(str(tmp_path))
    (error,) = load_block(index.table, fingerprint_of_pt(index, None, ""))["error"]
    assert "its label 4 is a number: say by --label_order whose it is" in error
    assert imported(tmp_path, "kaggle") == [("train", "sad")]
    assert imported(tmp_path, "alphabetical") == [("train", "neutral")]
    saved(tmp_path / "train" / "contempt_1.pt", {"latent": code(), "label": 4})  # none of the seven by its name
    assert index_pt(str(tmp_path), "kaggle").table["label"].to_pylist() == [5, -1]


def test_numbers_in_names_are_not_taken_for_kaggles(tmp_path: Path) -> None:
    saved(tmp_path / "named" / "train" / "4_neutral_1.pt", {"latent": code()})  # Kaggle's 4 is sad
    assert imported(tmp_path / "named") == [("train", "neutral")]
    saved(tmp_path / "old" / "train" / "4" / "1.pt", {"latent": code()})
    saved(tmp_path / "old" / "train" / "4_2.pt", {"latent": code()})
    index = index_pt(str(tmp_path / "old"))
    assert index.table["label"].to_pylist() == [-1, -1]
    errors = load_block(index.table, fingerprint_of_pt(index, None, ""))["error"]
    assert all("once --label_order says whose" in error for error in errors)
    assert imported(tmp_path / "old", "kaggle") == [("train", "sad")] * 2
    assert imported(tmp_path / "old", "alphabetical") == [("train", "neutral")] * 2


@pytest.mark.parametrize(
    ("content", "harm", "message"),
    [
        ({"latents": code(8).numpy(), "labels": np.zeros(8, int)}, "cut", "is no NumPy file of plain numbers"),
        ({"latents": code(8).numpy(), "labels": np.zeros(8, int)}, "damage", "is no NumPy file of plain numbers"),
        ({"latents": code(8).numpy(), "labels": np.array([1.0] * 7 + [np.nan])}, "", "neither all names nor all whole"),
        ({"latents": code(8).numpy(), "labels": np.zeros(5, int)}, "", r"holds 8 codes, but labels: \[5\]"),
        ({"latents": code(8).numpy()}, "", "holds 8 codes, but labels: none"),
        ({"latents": code(8).numpy(), "labels": np.array(["?"] * 8)}, "", r"label '\?' is not one of"),
    ],
)
def test_a_damaged_file_of_a_whole_split_is_told_in_a_line(
    tmp_path: Path, content: dict[str, np.ndarray], harm: str, message: str
) -> None:
    path = tmp_path / "train.npz"
    saved(path, content)
    whole = path.read_bytes()
    if harm:
        path.write_bytes(whole[:-3000] if harm == "cut" else whole[:5000] + b"x" * 100 + whole[5100:])
    with pytest.raises(UserError, match=message) as told:
        index_pt(str(tmp_path), "alphabetical")
    assert "\n" not in str(told.value)
