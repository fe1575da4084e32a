"""CK+ as it comes: cohn-kanade-images/S*/*/*.png, and Emotion/S*/*/*_emotion.txt for some of the sequences.

Paper: Lucey et al., "The extended Cohn-Kanade dataset (CK+)" (CVPR workshops, 2010). A sequence goes from a neutral
face to the peak of an expression, which is its last frame; the file of the label is named after that frame. 327 of the
593 sequences have a label. There are no splits, and several sequences show one person.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from fervit.errors import UserError
from fervit.images.layouts.listing import Listing
from fervit.images.layouts.marked import Marked
from fervit.labels.dealing import deal
from fervit.labels.label_set import PREDEFINED

END = "_emotion.txt"
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}
NO_PEAK = "not the peak of its sequence"
UNLABELLED = "of a sequence without a label"


def mark(listing: Listing) -> Marked | None:
    """The peaks of the labelled sequences, dealt to splits by person; None if this is not the layout.

    Raises:
        UserError: the file of a label holds no number.
    """
    texts = [path for path in listing.files if path.endswith(END) and person_of(path)]
    if not texts:
        return None
    labels = {}
    for path, content in zip(texts, listing.read(texts), strict=True):
        try:
            labels[PurePosixPath(path).name.removesuffix(END)] = str(int(float(content.decode("ascii"))))
        except (ValueError, OverflowError):
            raise UserError(
                f"--data_root {listing.root}: {path} holds no number of an emotion; copy it again"
            ) from None
    pictures = [path for path in listing.files if person_of(path) and listing.is_picture(path)]
    peaks = {path: label for path in pictures if (label := labels.get(PurePosixPath(path).stem)) is not None}
    sequences = {stem.rpartition("_")[0] for stem in labels}
    splits = deal([str(person_of(path)) for path in peaks], list(peaks.values()), SHARES)
    faces = {path: (split, label) for (path, label), split in zip(peaks.items(), splits, strict=True)}
    persons = len({person_of(path) for path in peaks})
    shares = ", ".join(f"{split} {100 * share:g} %" for split, share in SHARES.items())
    return Marked(
        what="CK+: labels of Emotion/*_emotion.txt, the peak of each labelled sequence",
        label_set=PREDEFINED["ckplus"],
        faces=faces,
        reasons={
            path: NO_PEAK if PurePosixPath(path).stem.rpartition("_")[0] in sequences else UNLABELLED
            for path in pictures
            if path not in faces
        },
        remark=f"CK+ has no splits: its {persons} persons are dealt to {shares}, no person to two",
    )


def person_of(image_id: str) -> str | None:
    """The person whom a picture of CK+ shows, such as S005 for .../S005_001_00000011.png; None for other names."""
    parts = PurePosixPath(image_id).name.split("_")
    number = parts[0][1:]
    return parts[0] if len(parts) >= 3 and parts[0][:1] == "S" and number.isdecimal() and len(number) == 3 else None
