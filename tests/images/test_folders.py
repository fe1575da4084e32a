from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fervit.errors import UserError
from fervit.images.index import open_faces
from fervit.labels.emotions import EMOTIONS
from fervit.labels.label_set import FOLDERS, SEVEN


def test_streams_every_face_with_its_split_and_label(demo_faces: Path) -> None:
    faces = list(open_faces(str(demo_faces)).stream())
    assert Counter(face.split for face in faces) == {"train": 42, "val": 21, "test": 14}
    for face in faces:
        split, emotion, _ = face.image_id.split("/")
        assert (split, emotion) == (face.split, EMOTIONS[face.label])
        assert face.pixels.shape == (96, 96, 3)
        assert face.pixels.dtype == np.uint8
    assert len({face.image_id for face in faces}) == len(faces)


def test_one_split_may_be_given(demo_faces: Path) -> None:
    index = open_faces(str(demo_faces / "val"))
    assert index.one_split
    assert index.splits() == ["val"]
    assert index.table["image_id"][0].as_py() == "angry/face_000.png"


def test_hidden_files_and_other_files_are_passed_over(demo_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    (copy / "train" / "happy" / "._face.png").touch()
    (copy / "train" / "happy" / "notes.txt").touch()
    (copy / "train" / ".cache").mkdir()
    assert len(open_faces(str(copy)).table) == 77


def test_a_folder_that_holds_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "happy").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no picture"):
        open_faces(str(tmp_path))
    with pytest.raises(UserError, match="no such file or folder"):
        open_faces(str(tmp_path / "nowhere"))


def test_an_unknown_class_or_layout_names_what_is_known(demo_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    (copy / "train" / "happy").rename(copy / "train" / "hapy")
    with pytest.raises(UserError, match="did you mean 'happy'"):
        open_faces(str(copy))
    (tmp_path / "other" / "trian").mkdir(parents=True)
    with pytest.raises(UserError, match="did you mean 'train'"):
        open_faces(str(tmp_path / "other"))
    (tmp_path / "wrapped").mkdir()
    shutil.copytree(demo_faces, tmp_path / "wrapped" / "archive")
    with pytest.raises(UserError, match=r"give --data_root .*wrapped/archive, if that is where they are"):
        open_faces(str(tmp_path / "wrapped"))


def test_a_split_without_a_class_is_refused(demo_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    shutil.rmtree(copy / "val" / "fear")
    with pytest.raises(UserError, match="split 'val' holds no face of fear"):
        open_faces(str(copy)).check_classes()


def test_a_limit_keeps_the_shares_and_what_a_smaller_limit_chose(demo_faces: Path) -> None:
    index = open_faces(str(demo_faces))
    half = index.limited(42)
    assert len(half.table) == 42
    for split, per_class in {"train": 6, "val": 3, "test": 2}.items():
        counts = half.counts(split)
        assert abs(counts - per_class * 42 / 77).max() <= 1
    smaller = set(index.limited(30).table["image_id"].to_pylist())
    assert len(smaller - set(half.table["image_id"].to_pylist())) <= 2  # rounding may move a face
    with pytest.raises(UserError, match="give 21 or more"):
        index.limited(20)


def test_a_folder_beside_the_splits_that_is_none_is_refused(demo_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    (copy / "val").rename(copy / "holdout")
    with pytest.raises(UserError, match="'holdout' stands beside test but is no split"):
        open_faces(str(copy))
    (copy / "holdout").rename(copy / "val")
    shutil.copytree(copy / "val", copy / "Validation")
    with pytest.raises(UserError, match="both mean val"):
        open_faces(str(copy))


@pytest.mark.parametrize(
    "names", [("Train", "validation", "Test"), ("training", "valid", "PrivateTest"), ("TRAIN", "dev", "testing")]
)
def test_common_names_of_splits_and_emotions_are_taken_and_said(
    demo_faces: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    others = ("Anger", "Disgusted", "2_fear", "Happiness", "Neutrality", "SADNESS", "Surprised")
    for split, name in zip(("train", "val", "test"), names, strict=True):
        (copy / split).rename(copy / name)
        for emotion, other in zip(EMOTIONS, others, strict=True):
            (copy / name / emotion).rename(copy / name / other)
    index = open_faces(str(copy))
    assert index.splits() == ["train", "val", "test"]
    assert [index.counts(split).tolist() for split in index.splits()] == [[6] * 7, [3] * 7, [2] * 7]
    index.check_classes()
    (remark,) = index.remarks
    assert f"{names[1]} as val" in remark
    assert "Anger as angry, 2_fear as fear" in remark or "Anger as angry" in remark
    one = open_faces(str(copy / names[1]))
    assert one.splits() == ["val"]


def test_every_file_is_a_face_or_passed_over_with_its_reason(demo_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    face = copy / "train" / "happy" / "face_000.png"
    (copy / "train" / "happy" / "another.jfif").write_bytes(face.read_bytes())  # of a suffix that is not known
    (copy / "train" / "happy" / "without_suffix").write_bytes(face.read_bytes())
    strays = {
        "train/loose.png": "in no class folder",
        "loose.png": "in no split's folder",
        "train/happy/Thumbs.db": "of an operating system or an archiver",
        "train/@eaDir/face.png": "of an operating system or an archiver",
        "__MACOSX/train/happy/._face_000.png": "of an operating system or an archiver",
        "train/happy/.DS_Store": "hidden",
        ".git/objects/ab": "hidden",
        "train/happy/notes.txt": "no picture",
        "train/happy/data.unknown": "no picture",
        "train/notes/readme": "in no class folder",
        "readme.md": "in no split's folder",
    }
    for path in strays:
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes(face.read_bytes() if path.endswith(".png") else b"nothing")
    with pytest.raises(UserError, match="'notes' is not one of the seven emotions"):
        open_faces(str(copy))  # a folder of files beside the classes may be a class
    shutil.rmtree(copy / "train" / "notes")
    del strays["train/notes/readme"]
    index = open_faces(str(copy))
    assert {one.path: one.reason for one in index.passed_over} == strays
    assert len(index.table) == 77 + 2
    files = sum(path.is_file() for path in copy.rglob("*"))
    assert len(index.table) + len(index.passed_over) == files
    assert index.limited(40).left_out == 39


def test_a_link_to_itself_is_told_as_a_picture_and_a_named_pipe_is_passed_over(
    demo_faces: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    (copy / "train" / "happy" / "self.png").symlink_to("self.png")
    os.mkfifo(copy / "train" / "happy" / "pipe.png")
    index = open_faces(str(copy))
    assert len(index.table) == 78
    assert index.passed_over == (("train/happy/pipe.png", "no regular file"),)
    with pytest.raises(OSError, match=r"self\.png"):
        index.read(str(copy / "train" / "happy" / "self.png"))


def test_a_linked_folder_that_leads_back_is_read_once(demo_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    (copy / "train" / "happy" / "again").symlink_to(copy / "train" / "happy")
    assert len(open_faces(str(copy)).table) == 77


def test_a_link_to_a_folder_above_the_data_root_is_passed_over(demo_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "project" / "faces"
    shutil.copytree(demo_faces, copy)
    (tmp_path / "project" / "private").mkdir()
    shutil.copy(copy / "train/happy/face_000.png", tmp_path / "project" / "private" / "me.png")
    (copy / "train" / "happy" / "up").symlink_to(tmp_path / "project")
    index = open_faces(str(copy))
    assert len(index.table) == 77
    assert index.passed_over == (("train/happy/up", "a link to a folder above itself"),)


def test_folders_that_link_each_other_are_read_once(demo_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    outside = tmp_path / "outside"
    shutil.copytree(demo_faces / "train" / "happy", outside / "deep" / "inner")
    for split in ("train", "val"):
        for one in EMOTIONS:
            for other in EMOTIONS:
                (copy / split / one / f"to_{other}").symlink_to(copy / split / other)
    (copy / "train" / "sad" / "a").symlink_to(outside / "deep" / "inner")  # is read here, and not again below b
    (copy / "train" / "sad" / "b").symlink_to(outside)
    index = open_faces(str(copy))
    assert len(index.table) == 77 + 6
    reasons = Counter(one.reason for one in index.passed_over)
    assert reasons == {
        "a link to a folder above itself": 14,
        "a link to a folder that is read elsewhere": 2 * 7 * 6 + 1,
    }


def test_a_linked_split_is_read_also_from_a_hidden_store(demo_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    (copy / ".store").mkdir()
    (copy / "val").rename(copy / ".store" / "4f")
    (copy / "val").symlink_to(".store/4f")
    index = open_faces(str(copy))
    assert index.counts("val").tolist() == [3] * 7
    assert {one.reason for one in index.passed_over} == {"hidden"}


def test_a_folder_that_cannot_be_listed_is_passed_over(demo_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    os.mkdir(copy / "train" / "happy" / ("x" * 250))  # noqa: PTH102
    inner = os.open(copy / "train" / "happy" / ("x" * 250), os.O_RDONLY)
    for _ in range(17):  # until its path is longer than the system takes, which also root cannot list
        os.mkdir("x" * 250, dir_fd=inner)
        inner, outer = os.open("x" * 250, os.O_RDONLY, dir_fd=inner), inner
        os.close(outer)
    os.close(inner)
    index = open_faces(str(copy))
    assert len(index.table) == 77
    (one,) = index.passed_over
    assert one.reason == "a folder that cannot be listed"


def test_an_empty_folder_beside_a_split_of_the_same_meaning_is_no_matter(demo_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "faces"
    shutil.copytree(demo_faces, copy)
    (copy / "validation" / "happy").mkdir(parents=True)
    assert open_faces(str(copy)).counts("val").tolist() == [3] * 7


def test_the_classes_of_one_split_may_have_folders_of_their_own(demo_faces: Path, tmp_path: Path) -> None:
    for name in ("awed", "bored"):
        shutil.copytree(demo_faces / "val" / "happy", tmp_path / "val" / name / "session 1")
    index = open_faces(str(tmp_path / "val"), FOLDERS)
    assert index.one_split
    assert index.label_set.classes == ("awed", "bored")
    assert len(index.table) == 6
    shutil.copytree(demo_faces / "val", tmp_path / "sets" / "one")
    shutil.copytree(demo_faces / "val", tmp_path / "sets" / "two")
    with pytest.raises(UserError, match="no train, val or test folder"):
        open_faces(str(tmp_path / "sets"), FOLDERS)


def renamed(demo_faces: Path, copy: Path, names: dict[str, str]) -> Path:
    """Copies the classes with these names only, under other names."""
    for split in ("train", "val", "test"):
        for emotion, other in names.items():
            shutil.copytree(demo_faces / split / emotion, copy / split / other)
    return copy


def test_contempt_makes_eight_classes_and_is_said(demo_faces: Path, tmp_path: Path) -> None:
    copy = renamed(demo_faces, tmp_path / "faces", {name: name for name in EMOTIONS})
    for split in ("train", "val", "test"):
        shutil.copytree(copy / split / "sad", copy / split / "Contempt")
    index = open_faces(str(copy))
    assert index.label_set.classes == tuple(sorted([*EMOTIONS, "contempt"]))
    index.check_classes()
    assert any("labels: 8 classes" in remark for remark in index.remarks)
    seven = open_faces(str(copy), SEVEN)
    assert seven.label_set == SEVEN
    assert {one.reason for one in seven.passed_over} == {"of a class that is not in --labels"}


def test_folders_of_other_names_are_the_classes(demo_faces: Path, tmp_path: Path) -> None:
    names = {"happy": "Happily Surprised", "sad": "sadly_angry", "fear": "awed"}
    index = open_faces(str(renamed(demo_faces, tmp_path / "faces", names)))
    assert index.label_set.classes == ("Happily Surprised", "awed", "sadly_angry")
    assert any("labels: 3 classes" in remark for remark in index.remarks)
    five = renamed(demo_faces, tmp_path / "five", {name: name for name in ("angry", "happy", "sad")})
    with pytest.raises(UserError, match="or name another set by --labels"):
        open_faces(str(five)).check_classes()
    index = open_faces(str(five), FOLDERS)
    assert index.label_set.classes == ("angry", "happy", "sad")
    index.check_classes()
    one = open_faces(str(five / "val"), FOLDERS)
    assert one.one_split
    assert one.label_set.classes == ("angry", "happy", "sad")
