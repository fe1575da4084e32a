"""A face keeps its name, whatever pictures are added later, and no face is of another picture than its name says."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fervit.encoding.preprocessing import PreprocessPlan, plan_preprocessing
from fervit.images.face_names import write_owners
from fervit.images.index import open_faces


def draw(root: Path, *names: str) -> None:
    for name in names:
        (root / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / "train" / name)


def plan(tmp_path: Path, *, old: bool = False) -> dict[str, str]:
    """What a job would do, and then does: the image id of each picture that gets a face -> the face's path.

    Args:
        tmp_path: the folder with the pictures in `raw` and the faces in `faces`.
        old: as a version did that does not note which picture has which face.
    """
    planned: PreprocessPlan = plan_preprocessing(open_faces(str(tmp_path / "raw")), str(tmp_path / "faces"))
    for path in planned.paths:
        (tmp_path / "faces" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "faces" / path).touch()
    if not old:
        write_owners(str(tmp_path / "faces"), planned.owners)
    ids = planned.index.table["image_id"].to_pylist()
    return {name.removeprefix("train/"): path for name, path in zip(ids, planned.paths, strict=True)}


def faces_in(tmp_path: Path) -> set[str]:
    return {path.relative_to(tmp_path / "faces").as_posix() for path in (tmp_path / "faces").rglob("*.png")}


@pytest.mark.parametrize(("first", "second"), [("0.png", "0.jpg"), ("0.jpg", "0.png")])
def test_a_picture_that_is_added_leaves_the_other_face_its_name(first: str, second: str, tmp_path: Path) -> None:
    draw(tmp_path / "raw", f"happy/{first}")
    assert plan(tmp_path) == {f"happy/{first}": "train/happy/0.png"}
    draw(tmp_path / "raw", f"happy/{second}")
    assert plan(tmp_path) == {f"happy/{second}": f"train/happy/{second}.png"}
    assert plan(tmp_path) == {}
    assert faces_in(tmp_path) == {"train/happy/0.png", f"train/happy/{second}.png"}


def test_a_class_folder_of_another_name_that_is_added(tmp_path: Path) -> None:
    draw(tmp_path / "raw", "happy/0.png")
    plan(tmp_path)
    draw(tmp_path / "raw", "Happiness/0.png")  # it comes first in the order of the names
    assert list(plan(tmp_path)) == ["Happiness/0.png"]
    assert len(faces_in(tmp_path)) == 2


def test_a_picture_that_takes_the_place_of_another(tmp_path: Path) -> None:
    draw(tmp_path / "raw", "happy/0.jpg")
    plan(tmp_path)
    (tmp_path / "raw/train/happy/0.jpg").unlink()
    draw(tmp_path / "raw", "happy/0.png")
    assert plan(tmp_path) == {"happy/0.png": "train/happy/0.png.png"}


def test_folders_of_earlier_versions_go_on(tmp_path: Path) -> None:
    draw(tmp_path / "raw", "happy/0.png", "happy/0.jpg", "happy/1.jpg", "sad/2.png")
    names = {"happy/0.jpg": "train/happy/0.jpg.png", "happy/0.png": "train/happy/0.png.png"}
    names |= {"happy/1.jpg": "train/happy/1.png", "sad/2.png": "train/sad/2.png"}
    assert plan(tmp_path, old=True) == names
    assert plan(tmp_path) == {}  # all of them are known by the names that they have
    assert faces_in(tmp_path) == set(names.values())


def test_a_face_of_an_earlier_version_of_one_of_two_pictures_is_made_again(tmp_path: Path) -> None:
    draw(tmp_path / "raw", "happy/0.jpg")
    plan(tmp_path, old=True)
    draw(tmp_path / "raw", "happy/0.png")
    # Nobody knows which of the two happy/0.png is of. It is made again, so that none is there twice.
    assert plan(tmp_path) == {"happy/0.jpg": "train/happy/0.png", "happy/0.png": "train/happy/0.png.png"}
    assert plan(tmp_path) == {}
