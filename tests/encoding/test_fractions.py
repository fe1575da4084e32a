from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fervit.encoding.fractions import settled, with_fractions
from fervit.errors import UserError
from fervit.images.face_index import FaceIndex
from fervit.images.index import open_faces
from fervit.labels.dealing import Fractions
from fervit.latents import LatentSet
from fervit.latents.fractions import FILE, write_fractions
from tests.conftest import ENCODER, Command, write_latents


@pytest.fixture
def faces(demo_faces: Path, tmp_path: Path) -> Path:
    """The training faces alone: six of each class, of which the first is there twice."""
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces / "train", copy / "train")
    for folder in (copy / "train").iterdir():
        first = sorted(folder.iterdir())[0]
        shutil.copy(first, folder / "copy_of_the_first.png")
    return copy


def splits_of(index: FaceIndex) -> dict[str, str]:
    return dict(zip(index.table["image_id"].to_pylist(), index.table["split"].to_pylist(), strict=True))


def test_missing_splits_are_taken_by_class_with_copies_on_one_side(faces: Path, tmp_path: Path) -> None:
    index = with_fractions(open_faces(str(faces)), str(tmp_path / "out"), Fractions(val=0.143, test=0.143))
    assert index.splits() == ["train", "val", "test"]
    assert [index.counts(split).sum() for split in index.splits()] == [35, 7, 7]
    index.check_classes()
    found = splits_of(index)
    for emotion in ("angry", "happy"):
        assert found[f"train/{emotion}/copy_of_the_first.png"] == found[f"train/{emotion}/face_000.png"]
    one = with_fractions(open_faces(str(faces / "train")), str(tmp_path / "out"), Fractions(val=0.2))
    assert one.splits() == ["train", "val"]
    assert not one.one_split


def test_faces_that_have_codes_stay_where_they_are_when_pictures_are_added(faces: Path, tmp_path: Path) -> None:
    out, fractions = str(tmp_path / "out"), Fractions(val=0.3)
    less = open_faces(str(faces)).limited(21)
    before = splits_of(with_fractions(less, out, fractions))
    for split in ("train", "val"):
        ids = [name for name, found in before.items() if found == split]
        zeros = np.zeros(len(ids), np.int64)
        codes = np.zeros((len(ids), 4, 16), np.float16)
        rows = LatentSet(path="", codes=codes, labels=zeros, image_ids=ids, sha256=ids, encoder=ENCODER)
        write_latents(Path(out, split), rows)
    after = splits_of(with_fractions(open_faces(str(faces)), out, fractions))
    assert len(after) == 49
    assert {name: after[name] for name in before} == before


def test_a_folder_that_holds_all_faces_as_training_has_none_to_give(faces: Path, tmp_path: Path) -> None:
    index = open_faces(str(faces))
    ids = index.table["image_id"].to_pylist()
    codes = np.zeros((len(ids), 4, 16), np.float16)
    labels = np.zeros(len(ids), np.int64)
    rows = LatentSet(path="", codes=codes, labels=labels, image_ids=ids, sha256=ids, encoder=ENCODER)
    write_latents(tmp_path / "out" / "train", rows)
    with pytest.raises(UserError, match="nothing is left for val"):
        with_fractions(index, str(tmp_path / "out"), Fractions(val=0.2))


def test_the_shares_are_recorded_and_taken_again(tmp_path: Path) -> None:
    out = str(tmp_path)
    assert settled(out, None) is None
    write_fractions(out, Fractions(val=0.1))
    assert settled(out, None) == Fractions(val=0.1)
    with pytest.raises(UserError, match=r"its splits were made with --val_fraction 0\.1, now --val_fraction 0\.2"):
        settled(out, Fractions(val=0.2))
    (tmp_path / FILE).write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        settled(out, None)


def test_another_seed_takes_other_faces(faces: Path, tmp_path: Path) -> None:
    index = open_faces(str(faces))
    one, other = (with_fractions(index, str(tmp_path), Fractions(val=0.2, seed=seed)) for seed in (0, 1))
    assert splits_of(one) != splits_of(other)


def test_pictures_of_a_person_of_ck_plus_stay_together(faces: Path, tmp_path: Path) -> None:
    index = open_faces(str(faces))
    names = [f"train/happy/S{i % 12:03d}_{i:03d}_00000001.png" for i in range(len(index.table))]
    named = index.with_table(index.table.set_column(0, "image_id", pa.array(names, pa.string())))
    found = splits_of(with_fractions(named, str(tmp_path), Fractions(val=0.3)))
    sides = {(name.split("/")[2][:4], split) for name, split in found.items()}
    assert len(sides) == len({person for person, _ in sides})


def test_fractions_that_cannot_be_taken_are_one_line(command: Command, demo_faces: Path, tmp_path: Path) -> None:
    (tmp_path / "codes").mkdir()
    for args, message in (
        (("--data_root", demo_faces, "--val_fraction", 0.1), "has a split val of its own; leave the flag out"),
        (("--data_root", demo_faces, "--val_fraction", 1.5), "must be shares from 0 to 1"),
        (("--from_pt", "codes", "--val_fraction", 0.1), "do not go with --from_pt"),
    ):
        ended = command("encode", "--latent_out", "latents", *args)
        assert ended.status == 2
        assert message in ended.err
        assert ended.err.count("\n") == 1
    assert replace(Fractions(val=0.1), seed=2).shares == {"train": 0.9, "val": 0.1}
