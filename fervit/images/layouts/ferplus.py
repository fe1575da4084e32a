"""FER+: the votes of ten taggers for each face of FER2013, in fer2013new.csv beside fer2013.csv or beside pictures.

Paper: Barsoum, Zhang, Canton Ferrer and Zhang, "Training deep networks for facial expression recognition with
crowd-sourced label distribution" (ICMI 2016). The rows of fer2013new.csv are in the order of those of fer2013.csv. The
pictures that the authors' script writes are FER2013Train/fer0000000.png and so on, some with a label.csv a folder.

A face has the label that more than half of the votes name, not counting emotions that only one tagger named, as in the
authors' majority rule. Faces without such a majority, and those that are unknown or no face by it, are passed over.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import PurePosixPath

import pyarrow.fs as pafs

from fervit.errors import UserError
from fervit.images.layouts.listing import Listing
from fervit.images.layouts.marked import Marked
from fervit.io.storage import child_of, naming
from fervit.labels.emotions import split_of
from fervit.labels.label_set import EIGHT, PREDEFINED

COLUMNS = (*EIGHT, "unknown", "NF")
"""What the ten columns of votes stand for."""
UNKNOWN, NO_FACE, NO_MAJORITY = "unknown by FER+'s majority", "no face by FER+'s majority", "without a majority in FER+"
FOLDERS = {"FER2013Train": "train", "FER2013Valid": "val", "FER2013Test": "test"}


def majority(votes: Sequence[int]) -> str:
    """The class that more than half of the votes name, not counting single votes; or why there is none.

    Args:
        votes: the numbers of votes for `COLUMNS`.
    """
    counted = [n if n > 1 else 0 for n in votes]
    most = max(counted)
    if most <= sum(counted) / 2:
        return NO_MAJORITY
    found = COLUMNS[counted.index(most)]
    return {"unknown": UNKNOWN, "NF": NO_FACE}.get(found, found)


def is_votes(name: str) -> bool:
    """Whether a file is FER+'s, by its name."""
    return name.startswith("fer2013new") and name.endswith(".csv")


def votes_beside(filesystem: pafs.FileSystem, path: str) -> str | None:
    """The path of fer2013new*.csv beside fer2013.csv, or in a folder FERPlus* beside it; None if there is none."""
    folder = str(PurePosixPath(path).parent)
    infos = filesystem.get_file_info(pafs.FileSelector(folder))
    for info in [info for info in infos if not info.is_file and info.base_name.lower().startswith(("ferplus", "fer+"))]:
        infos += filesystem.get_file_info(pafs.FileSelector(info.path))
    return next((info.path for info in infos if info.is_file and is_votes(info.base_name)), None)


def read_votes(filesystem: pafs.FileSystem, path: str) -> list[tuple[str, str, str]]:
    """Reads fer2013new.csv: for each row its Usage, the name of its picture, and its class or why it has none.

    Raises:
        UserError: the file is not as FER+'s.
    """
    with naming(path, "cannot be read"), filesystem.open_input_stream(path) as file:
        text = bytes(file.read()).decode("utf-8-sig", "replace")
    header, *rows = list(csv.reader(io.StringIO(text))) or [[]]
    names = {"happiness": "happy", "sadness": "sad", "anger": "angry"}
    columns = [names.get(name.strip(), name.strip()) for name in header[2:]]
    if tuple(columns) != COLUMNS:
        raise UserError(f"{path}: has other columns than FER+'s fer2013new.csv (Usage, Image name and ten of votes)")
    found = []
    for i, row in enumerate(row for row in rows if row):
        label = _voted(row[2:], path, i)  # says if the row is too short
        found.append((row[0].strip(), row[1].strip(), label))
    return found


def _voted(cells: Sequence[str], path: str, row: int) -> str:
    try:
        votes = [int(float(cell)) for cell in cells]
    except ValueError:
        votes = []
    if len(votes) != len(COLUMNS):
        raise UserError(f"{path}: row {row} must have ten numbers of votes; copy the file again")
    return majority(votes)


def mark(listing: Listing) -> Marked | None:
    """The pictures of FER2013Train, FER2013Valid and FER2013Test with their majority labels; None if there are none.

    Raises:
        UserError: a file of votes is damaged.
    """
    pictures = {
        path: (FOLDERS[parent], PurePosixPath(path).name)
        for path in listing.files
        if (parent := PurePosixPath(path).parent.name) in FOLDERS and listing.is_picture(path)
    }
    lists = [path for path in listing.files if is_votes(PurePosixPath(path).name)]
    folder_lists = [path for path in listing.files if PurePosixPath(path).name == "label.csv"]
    if not pictures or not (lists or folder_lists):
        return None
    labels: dict[tuple[str, str], str] = {}
    if lists:
        for usage, name, label in read_votes(listing.filesystem, child_of(listing.path, lists[0])):
            labels[split_of(usage) or "", name] = label
    else:
        for path, content in zip(folder_lists, listing.read(folder_lists), strict=True):
            split = FOLDERS.get(PurePosixPath(path).parent.name, "")
            for i, cells in enumerate(csv.reader(io.StringIO(content.decode("utf-8-sig", "replace")))):
                if cells:  # the picture, its box, ten numbers of votes
                    labels[split, cells[0].strip()] = _voted(cells[2:], path, i)
    faces, reasons = {}, {}
    for path, key in pictures.items():
        voted = labels.get(key)
        if voted in PREDEFINED["ferplus"]:
            faces[path] = (key[0], str(voted))
        elif voted is not None:
            reasons[path] = voted
    return Marked(
        what=f"FER+: majority labels of {lists[0] if lists else 'label.csv'}",
        label_set=PREDEFINED["ferplus"],
        faces=faces,
        reasons=reasons,
    )
