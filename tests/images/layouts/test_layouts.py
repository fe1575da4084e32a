"""Small copies of the layouts in which RAF-DB, AffectNet, CK+ and FER+ come, with drawn faces."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fervit.errors import UserError
from fervit.images.face_index import FaceIndex
from fervit.images.index import open_faces
from fervit.images.layouts.ferplus import COLUMNS, NO_MAJORITY, majority
from fervit.labels.label_set import PREDEFINED, LabelSet, read_label_set

GREY = " ".join(["7"] * 2303 + ["200"])


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (48, 48), len(path.name)).save(path)


def classes(index: FaceIndex) -> dict[str, tuple[str, str]]:
    """The name of each picture -> its split and its class."""
    rows = index.table.to_pylist()
    return {row["image_id"].rpartition("/")[2]: (row["split"], index.label_set.classes[row["label"]]) for row in rows}


def raf_db(root: Path, lines: str) -> Path:
    (root / "EmoLabel").mkdir(parents=True)
    (root / "EmoLabel" / "list_patition_label.txt").write_text(lines)
    for line in lines.splitlines():
        stem = line.split()[0].removesuffix(".jpg")
        picture(root / "Image" / "aligned" / f"{stem}_aligned.jpg")
        picture(root / "Image" / "original" / f"{stem}.jpg")
    return root


def test_raf_db_is_read_from_its_list(tmp_path: Path) -> None:
    root = raf_db(tmp_path / "basic", "train_00001.jpg 5\ntrain_00002.jpg 1\ntest_0001.jpg 7\n")
    index = open_faces(str(root))
    assert classes(index) == {
        "train_00001_aligned.jpg": ("train", "sad"),
        "train_00002_aligned.jpg": ("train", "surprise"),
        "test_0001_aligned.jpg": ("test", "neutral"),
    }
    reasons = Counter(one.reason for one in index.passed_over)
    assert reasons == {"another edition of a picture that is taken": 3, "no picture": 1}
    assert "no validation split" in " ".join(index.remarks)


def test_the_compound_edition_of_raf_db_takes_a_file_of_its_classes(tmp_path: Path) -> None:
    root = raf_db(tmp_path / "compound", "train_0001.jpg 1\ntrain_0002.jpg 11\n")
    with pytest.raises(UserError, match="has the label 11, which means none of the seven emotions"):
        open_faces(str(root))
    names = [f"{i}: compound {i}" for i in range(1, 12)]
    (tmp_path / "labels.yaml").write_text("\n".join(names))
    index = open_faces(str(root), read_label_set(str(tmp_path / "labels.yaml")))
    assert len(index.label_set) == 11
    assert classes(index)["train_0002_aligned.jpg"] == ("train", "compound 11")


@pytest.mark.parametrize("name", ["rafdb", "ferplus", "fer2013", "mine"])
def test_a_file_means_what_it_says_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    """A file of the user may be called as a predefined set is; its numbers are its own all the same."""
    root = raf_db(tmp_path / "compound", "train_0001.jpg 1\ntrain_0002.jpg 2\n")
    numbers = "1: happily surprised\n2: sadly fearful\n"
    named = f"name: {name}\nnumbers: {{1: happily surprised, 2: sadly fearful}}\n"
    for text in (numbers, named):
        (tmp_path / f"{name}.yaml").write_text(text)
        index = open_faces(str(root), read_label_set(str(tmp_path / f"{name}.yaml")))
        assert classes(index)["train_0001_aligned.jpg"] == ("train", "happily surprised")
        assert classes(index)["train_0002_aligned.jpg"] == ("train", "sadly fearful")
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")  # alphabetical, unlike Kaggle's
    (tmp_path / f"{name}.yaml").write_text("\n".join(f"{i}: {one}" for i, one in enumerate(emotions)))
    (tmp_path / "f.csv").write_text(f"emotion,pixels,Usage\n4,{GREY},Training\n6,{GREY},Training\n")
    own = read_label_set(str(tmp_path / f"{name}.yaml"))
    assert [meant for _, meant in classes(open_faces(str(tmp_path / "f.csv"), own)).values()] == ["neutral", "surprise"]
    kept = LabelSet.from_json(json.loads(json.dumps(own.to_json())))  # as `_faces.json` has it
    assert [meant for _, meant in classes(open_faces(str(tmp_path / "f.csv"), kept)).values()] == [
        "neutral",
        "surprise",
    ]


def test_raf_dbs_numbered_folders_are_read_when_the_set_is_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(1, 8):
            picture(tmp_path / split / str(number) / f"{split}_{number}.jpg")
    with pytest.raises(UserError, match="say by --labels whose numbers these are"):
        open_faces(str(tmp_path))
    index = open_faces(str(tmp_path), PREDEFINED["rafdb"])
    assert classes(index)["train_3.jpg"] == ("train", "disgust")
    assert index.counts("test").tolist() == [1] * 7


def affectnet(root: Path, labels: dict[str, object]) -> Path:
    for path, label in labels.items():
        folder, name = root / Path(path).parent, Path(path).name
        picture(folder / "images" / f"{name}.jpg")
        (folder / "annotations").mkdir(exist_ok=True)
        np.save(folder / "annotations" / f"{name}_exp.npy", np.array(label))
        np.save(folder / "annotations" / f"{name}_val.npy", np.array(0.5))
    return root


def test_affectnet_is_read_from_its_annotations_numbers_or_texts(tmp_path: Path) -> None:
    labels: dict[str, object] = {"train_set/0": 0, "train_set/1": "7", "val_set/2": 3, "val_set/3": "9"}
    index = open_faces(str(affectnet(tmp_path / "whole", labels)))
    assert index.label_set == PREDEFINED["affectnet"]
    assert classes(index) == {
        "0.jpg": ("train", "neutral"),
        "1.jpg": ("train", "contempt"),
        "2.jpg": ("val", "surprise"),
    }
    reasons = Counter(one.reason for one in index.passed_over)
    assert reasons == {"no picture": 8, "labelled uncertain": 1}
    seven = open_faces(str(tmp_path / "whole"), PREDEFINED["fer2013"])  # AffectNet-7
    assert "1.jpg" not in classes(seven)
    assert "of a class that is not in --labels" in {one.reason for one in seven.passed_over}
    one = open_faces(str(tmp_path / "whole" / "val_set"))
    assert one.one_split
    assert one.splits() == ["val"]


def test_an_annotation_of_affectnet_that_is_damaged_is_named(tmp_path: Path) -> None:
    root = affectnet(tmp_path, {"train_set/0": 0, "train_set/1": 1})
    (root / "train_set" / "annotations" / "1_exp.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"1_exp\.npy holds no number of an emotion"):
        open_faces(str(root))


def test_the_peaks_of_labelled_sequences_of_ck_plus_are_dealt_by_person(tmp_path: Path) -> None:
    for person in range(40):
        for sequence, number in enumerate((1 + person % 7, 1 + (person + 3) % 7, 0), start=1):
            folder = f"S{person:03d}/{sequence:03d}"
            frames = [f"S{person:03d}_{sequence:03d}_{frame:08d}" for frame in (1, 2, 3)]
            for frame in frames:
                picture(tmp_path / "cohn-kanade-images" / folder / f"{frame}.png")
            if number:
                label = tmp_path / "Emotion" / folder / f"{frames[-1]}_emotion.txt"
                label.parent.mkdir(parents=True)
                label.write_text(f"   {number:.7e}\n")
    index = open_faces(str(tmp_path))
    assert index.label_set == PREDEFINED["ckplus"]
    assert len(index.table) == 80
    index.check_classes()  # each split has all seven
    of_person = {(name.split("_")[0], split) for name, (split, _) in classes(index).items()}
    assert len(of_person) == 40  # nobody is in two splits
    assert Counter(split for _, split in of_person)["train"] > 20
    reasons = Counter(one.reason for one in index.passed_over)
    assert reasons == {"not the peak of its sequence": 160, "of a sequence without a label": 120, "no picture": 80}


VOTES = {
    "fer0000000.png": [4, 0, 0, 1, 3, 2, 0, 0, 0, 0],  # four of nine, not counting the single vote
    "fer0000001.png": [6, 0, 1, 1, 0, 0, 0, 0, 2, 0],
    "fer0000002.png": [0, 0, 0, 0, 0, 1, 0, 7, 2, 0],
    "": [0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
}


def write_votes(path: Path) -> None:
    names = [{"happy": "happiness", "sad": "sadness", "angry": "anger"}.get(name, name) for name in COLUMNS]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Usage", "Image name", *names])
        writer.writerows(["Training", name, *votes] for name, votes in VOTES.items())


def test_fer_plus_relabels_fer2013_by_the_taggers_majority(tmp_path: Path) -> None:
    text = "\n".join(["emotion,pixels,Usage", *(f"0,{GREY},Training" for _ in VOTES)])
    (tmp_path / "fer2013.csv").write_text(text)
    with pytest.raises(UserError, match=r"its numbers are FER2013's; FER\+'s labels are in fer2013new.csv"):
        open_faces(str(tmp_path / "fer2013.csv"), PREDEFINED["ferplus"])
    write_votes(tmp_path / "fer2013new.csv")
    for given in (tmp_path, tmp_path / "fer2013.csv"):
        index = open_faces(str(given), PREDEFINED["ferplus"])
        assert classes(index) == {"row-00001": ("train", "neutral"), "row-00002": ("train", "contempt")}
        assert {(one.path, one.reason) for one in index.passed_over} == {
            ("row-00000", "without a majority in FER+"),
            ("row-00003", "no face by FER+'s majority"),
        }
    (tmp_path / "fer2013.csv").write_text(text.rpartition("\n")[0])
    with pytest.raises(UserError, match="has 4 rows, but"):
        open_faces(str(tmp_path / "fer2013.csv"), PREDEFINED["ferplus"])


def test_a_damaged_file_of_fer_plus_is_told_and_files_beside_the_pair_are_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *(f"0,{GREY},Training" for _ in VOTES)]))
    votes = tmp_path / "fer2013new.csv"
    votes.write_text("")
    with pytest.raises(UserError, match="has other columns than FER"):
        open_faces(str(tmp_path))
    write_votes(votes)
    whole = votes.read_text()
    votes.write_text(whole + "Training\n")
    with pytest.raises(UserError, match="row 4 must have ten numbers of votes"):
        open_faces(str(tmp_path))
    votes.write_text(whole)
    (tmp_path / "README.md").write_text("about")
    picture(tmp_path / "extra.png")
    others = {one.path: one.reason for one in open_faces(str(tmp_path)).passed_over if "row-" not in one.path}
    assert others == {"README.md": "no picture", "extra.png": "without a label"}


def test_fer_plus_is_read_from_its_pictures(tmp_path: Path) -> None:
    for name in [*VOTES][:3]:
        picture(tmp_path / "FER2013Train" / name)
    write_votes(tmp_path / "fer2013new.csv")
    whole = classes(open_faces(str(tmp_path)))
    assert whole == {"fer0000001.png": ("train", "neutral"), "fer0000002.png": ("train", "contempt")}
    (tmp_path / "fer2013new.csv").unlink()
    with (tmp_path / "FER2013Train" / "label.csv").open("w", newline="") as file:
        csv.writer(file).writerows([name, "(0, 0, 48, 48)", *votes] for name, votes in VOTES.items())
    assert classes(open_faces(str(tmp_path))) == whole


def test_a_majority_is_more_than_half_of_what_two_taggers_named() -> None:
    assert majority([5, 5, 0, 0, 0, 0, 0, 0, 0, 0]) == NO_MAJORITY
    assert majority([1, 1, 1, 1, 1, 1, 1, 1, 1, 1]) == NO_MAJORITY
    assert majority([1, 2, 1, 1, 1, 1, 1, 1, 1, 0]) == "happy"


@pytest.mark.long
def test_the_real_votes_relabel_the_real_fer2013(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv.gz").symlink_to(shared / "data" / "fer2013_train_val.csv.gz")
    (tmp_path / "fer2013new.csv").symlink_to(shared / "data" / "ferplus" / "fer2013new_train_val.csv")
    index = open_faces(str(tmp_path))
    counts = {split: dict(zip(index.label_set.classes, index.counts(split), strict=True)) for split in index.splits()}
    assert len(index.table) + len(index.passed_over) == 32_298
    # What users of FER+'s majority labels report: 25,060 faces for training and 3,199 for validation.
    assert {split: sum(of_class.values()) for split, of_class in counts.items()} == {"train": 25_060, "val": 3_199}
    assert counts["train"]["neutral"] > counts["train"]["happy"] > counts["train"]["sad"]
    assert "without a majority in FER+" in {one.reason for one in index.passed_over}


def test_a_csv_with_contempt_is_ck_pluss(tmp_path: Path) -> None:
    rows = [f"{number},{GREY},Training" for number in (0, 7, 6)]
    path = tmp_path / "ckextended.csv.gz"
    path.write_bytes(gzip.compress("\n".join(["emotion,pixels,Usage", *rows]).encode()))
    index = open_faces(str(path), PREDEFINED["ckplus"])
    assert [meant for _, meant in classes(index).values()] == ["angry", "contempt"]
    assert [one.path for one in index.passed_over] == ["row-00002"]  # neutral is none of its classes
    with pytest.raises(UserError, match="must be one of the names of 8 classes"):
        open_faces(str(path), PREDEFINED["affectnet"])
