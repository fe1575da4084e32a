"""The names of the faces that preprocessing cuts out of pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

from fervit.images.face_index import FaceIndex
from fervit.images.pictures import SUFFIXES
from fervit.labels.emotions import split_of


def names_of_faces(index: FaceIndex) -> list[str]:
    """The path of each face below the output folder, in the order of the index.

    No two faces have the same path: a picture's suffix is kept where two would be equal without it.
    """
    columns = [index.table[name].to_pylist() for name in ("image_id", "split", "label")]
    rows: list[tuple[str, str]] = []
    for image_id, split, label in zip(*columns, strict=True):
        parts, emotion = PurePosixPath(image_id).parts, index.label_set.classes[label]
        parts = parts[1:] if len(parts) > 1 and split in (parts[0], split_of(parts[0])) else parts
        parts = parts[1:] if len(parts) > 1 and index.label_set.class_of(parts[0]) == emotion else parts
        whole = PurePosixPath(split, emotion, *parts)
        without = whole.with_suffix("") if whole.suffix.lower() in SUFFIXES else whole
        rows.append((str(without), str(whole)))
    stems = Counter(stem for stem, _ in rows)
    names: list[str] = []
    taken: set[str] = set()
    for stem, place in rows:
        name, n = stem if stems[stem] == 1 else place, 1
        while name in taken:
            n += 1
            name = f"{place}_{n}"
        taken.add(name)
        names.append(f"{name}.png")
    return names
