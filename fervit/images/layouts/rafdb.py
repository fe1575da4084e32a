"""RAF-DB as it comes: list_patition_label.txt beside aligned or original pictures.

Paper: Li, Deng and Du, "Reliable crowdsourcing and deep locality-preserving learning for expression recognition in the
wild" (CVPR 2017). Each line names a picture and a number, `train_00001.jpg 5`; the picture is train_00001_aligned.jpg
or train_00001.jpg. The compound edition has other numbers, which a file that `--labels` names can give classes.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from fervit.errors import UserError
from fervit.images.layouts.listing import Listing
from fervit.images.layouts.marked import Marked
from fervit.labels.label_set import PREDEFINED

LISTS = ("list_patition_label.txt", "list_partition_label.txt")
"""The file of the labels, as the data set spells it, and as it should be spelled."""
ALIGNED = "_aligned"
OTHER_EDITION = "another edition of a picture that is taken"
NO_VALIDATION = "RAF-DB has no validation split: --val_fraction 0.1 takes one out of train"


def mark(listing: Listing) -> Marked | None:
    """The pictures with their labels; None if this is not the layout.

    Raises:
        UserError: a line of the list is damaged.
    """
    lists = [path for path in listing.files if PurePosixPath(path).name in LISTS]
    if not lists:
        return None
    if len(lists) > 1:
        raise UserError(
            f"--data_root {listing.root}: holds two lists of labels, {lists[0]} and {lists[1]}; give the folder of one "
            "edition (basic or compound)"
        )
    text = listing.read(lists)[0].decode("utf-8-sig", "replace")
    labels: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) < 2 or not cells[1].isdecimal() or not cells[0].startswith(("train", "test")):
            raise UserError(f"--data_root {listing.root}: {lists[0]}, line {number} must be like 'train_00001.jpg 5'")
        labels[PurePosixPath(cells[0]).stem] = str(int(cells[1]))
    taken: dict[str, str] = {}  # the picture's name in the list -> its path
    pictures = [path for path in listing.files if listing.is_picture(path)]
    for path in sorted(pictures, key=lambda path: not PurePosixPath(path).stem.endswith(ALIGNED)):
        stem = PurePosixPath(path).stem.removesuffix(ALIGNED)
        if stem in labels:
            taken.setdefault(stem, path)
    faces = {path: (_split(stem), labels[stem]) for stem, path in taken.items()}
    others = [path for path in pictures if PurePosixPath(path).stem.removesuffix(ALIGNED) in labels]
    missing = len(labels) - len(taken)
    return Marked(
        what=f"RAF-DB: labels of {lists[0]}" + (f", {missing} of its pictures are not there" if missing else ""),
        label_set=PREDEFINED["rafdb"],
        faces=faces,
        reasons={path: OTHER_EDITION for path in others if path not in faces},
        remark=NO_VALIDATION,
    )


def _split(stem: str) -> str:
    return "train" if stem.startswith("train") else "test"
