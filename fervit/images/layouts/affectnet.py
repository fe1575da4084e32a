"""AffectNet as it comes: {train_set,val_set}/images/N.jpg with annotations/N_exp.npy.

Paper: Mollahosseini, Hasani and Mahoor, "AffectNet: a database for facial expression, valence, and arousal computing in
the wild" (IEEE Transactions on Affective Computing, 2017). The numbers 8, 9 and 10 stand for no emotion, uncertain, and
no face.
"""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from zipfile import BadZipFile

import numpy as np

from fervit.errors import UserError
from fervit.images.layouts.listing import Listing
from fervit.images.layouts.marked import Marked
from fervit.labels.emotions import split_of
from fervit.labels.label_set import PREDEFINED

END = "_exp.npy"
NO_EMOTION = {"8": "labelled none", "9": "labelled uncertain", "10": "labelled no face"}
NO_TEST = "AffectNet has no test split: --test_fraction 0.1 takes one out of train"


def mark(listing: Listing) -> Marked | None:
    """The pictures with their labels; None if this is not the layout.

    Raises:
        UserError: an annotation holds no number.
    """
    annotations = [path for path in listing.files if path.endswith(END) and _parent(path).name == "annotations"]
    if not annotations:
        return None
    labels = {}
    for path, content in zip(annotations, listing.read(annotations), strict=True):
        labels[str(_parent(path).parent / "images" / PurePosixPath(path).name.removesuffix(END))] = _number(
            content, path, listing.root
        )
    one_split = any(path.startswith("annotations/") for path in annotations)
    faces: dict[str, tuple[str, str]] = {}
    reasons: dict[str, str] = {}
    for path in listing.files:
        label = labels.get(str(PurePosixPath(path).with_suffix("")))
        if label is None or not listing.is_picture(path):
            continue
        if label in NO_EMOTION:
            reasons[path] = NO_EMOTION[label]
            continue
        folder = _parent(path).parent.name
        split = listing.name_of_split if one_split else split_of(folder)
        if split is None:
            raise UserError(
                f"--data_root {listing.root}: '{folder}' holds images and annotations but is no split; call it "
                "train_set, val_set or test_set"
            )
        faces[path] = (split, label)
    missing = len(labels) - len(faces) - len(reasons)
    return Marked(
        what="AffectNet: labels of annotations/*_exp.npy"
        + (f", {missing} of their pictures are not there" if missing else ""),
        label_set=PREDEFINED["affectnet"],
        faces=faces,
        reasons=reasons,
        remark="" if one_split or any(split == "test" for split, _ in faces.values()) else NO_TEST,
        one_split=one_split,
    )


def _parent(path: str) -> PurePosixPath:
    return PurePosixPath(path).parent


def _number(content: bytes, path: str, root: str) -> str:
    """The number in an annotation, which some editions hold as text."""
    try:
        return str(int(float(np.load(io.BytesIO(content), allow_pickle=False).item())))
    except (ValueError, EOFError, OSError, TypeError, OverflowError, BadZipFile):
        raise UserError(f"--data_root {root}: {path} holds no number of an emotion; copy it again") from None
