from __future__ import annotations

import gzip
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fervit.errors import UserError
from fervit.images.index import open_faces
from fervit.labels.emotions import EMOTIONS

GREY = " ".join(["7"] * 2303 + ["200"])
KAGGLE = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


def write_csv(path: Path, rows: list[str], header: str = "emotion,pixels,Usage") -> Path:
    text = "\n".join([header, *rows]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013.csv.gz"])
def test_kaggles_numbers_become_fervits(tmp_path: Path, name: str) -> None:
    rows = [f"{number},{GREY},Training" for number in range(7)]
    faces = list(open_faces(str(write_csv(tmp_path / name, rows))).stream())
    assert [EMOTIONS[face.label] for face in faces] == KAGGLE
    assert [face.image_id for face in faces][:2] == ["row-00000", "row-00001"]


def test_the_usages_are_the_splits_and_pixels_are_grey(tmp_path: Path) -> None:
    usages = ["PrivateTest", "Training", "PublicTest"]
    index = open_faces(str(write_csv(tmp_path / "f.csv", [f"3,{GREY},{usage}" for usage in usages])))
    assert [face.split for face in index.stream()] == ["test", "train", "val"]
    assert index.splits() == ["train", "val", "test"]
    pixels = next(index.stream()).pixels
    assert pixels.shape == (48, 48, 3)
    assert pixels[0, 0].tolist() == [7, 7, 7]
    assert pixels[47, 47].tolist() == [200, 200, 200]


def test_other_names_of_the_splits_are_usages_too(tmp_path: Path) -> None:
    usages = ["train", "Train", "validation", "test", "PrivateTest"]
    index = open_faces(str(write_csv(tmp_path / "f.csv", [f"3,{GREY},{usage}" for usage in usages])))
    assert index.table["split"].to_pylist() == ["train", "train", "val", "test", "test"]


def test_the_header_of_the_second_release_is_read_too(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "icml_face_data.csv", [f"3,Training,{GREY}"], header="emotion, Usage, pixels")
    assert [face.label for face in open_faces(str(path)).stream()] == [EMOTIONS.index("happy")]


@pytest.mark.parametrize(
    ("row", "header", "message"),
    [
        (f"7,{GREY},Training", "emotion,pixels,Usage", "row 0 has emotion 7; it must be one of 0..6"),
        (f"1,{GREY},Rest", "emotion,pixels,Usage", "row 0 has Usage 'Rest'; it must be one of Training, PublicTest"),
        (f"1,{GREY}", "emotion,pixels", "lacks the column Usage"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: str, header: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_faces(str(write_csv(tmp_path / "f.csv", [row], header)))


def test_what_is_no_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv.gz"
    path.write_bytes(b"<html>quota</html>")
    with pytest.raises(UserError, match="no CSV file that can be read"):
        open_faces(str(path))


def test_the_real_fer2013(shared: Path) -> None:
    index = open_faces(str(shared / "data" / "fer2013_train_val.csv.gz"))
    assert index.splits() == ["train", "val"]
    assert index.counts("train").tolist() == [3995, 436, 4097, 7215, 4965, 4830, 3171]
    assert index.counts("val").tolist() == [467, 56, 496, 895, 607, 653, 415]
    limited = index.limited(3000)
    assert len(limited.table) == 3000
    share = limited.counts("train") / limited.counts("train").sum()
    np.testing.assert_allclose(share, index.counts("train") / 28709, atol=1e-3)
    limited.check_classes()


def test_what_pandas_writes_is_read(tmp_path: Path) -> None:
    rows = [f"{i},{number},{GREY},Training" for i, number in enumerate(("0.0", "3.0", "6.0"))]
    index = open_faces(str(write_csv(tmp_path / "indexed.csv", rows, header=",emotion,pixels,Usage")))
    assert [EMOTIONS[face.label] for face in index.stream()] == ["angry", "happy", "neutral"]
    rows = [f"{name};{GREY};{usage}" for name, usage in (("Happiness", "Training"), ("neutral", "PublicTest"))]
    index = open_faces(str(write_csv(tmp_path / "named.csv", rows, header="Emotion;pixels;usage")))
    assert [(EMOTIONS[face.label], face.split) for face in index.stream()] == [("happy", "train"), ("neutral", "val")]


def test_rows_that_are_cut_off_or_have_junk_are_passed_over_by_number(tmp_path: Path) -> None:
    rows = [f"0,{GREY},Training", "junk", f"3,{GREY},Training", f"3,{GREY},Training,xx", f"4,{GREY},Training", "0,7 7"]
    index = open_faces(str(write_csv(tmp_path / "f.csv", rows)))
    assert index.table["image_id"].to_pylist() == ["row-00000", "row-00002", "row-00004"]
    assert [one.path for one in index.passed_over] == ["row-00001", "row-00003", "row-00005"]


@pytest.mark.parametrize("name", ["archive.zip", "fer2013.tar.gz", "fer2013.tar"])
def test_an_archive_is_told_with_what_unpacks_it(tmp_path: Path, name: str) -> None:
    inside = write_csv(tmp_path / "fer2013.csv", [f"0,{GREY},Training"])
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(inside)
    else:
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as tar:
            tar.add(inside)
    with pytest.raises(UserError, match=r"is an archive; unpack it \(`(unzip|tar) .* then give the folder"):
        open_faces(str(tmp_path / name))
