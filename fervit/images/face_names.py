"""The names of the faces that preprocessing cuts out of pictures, which pictures keep whatever is added later.

`_names.jsonl` beside the faces says which picture has which face. Folders of earlier versions have no such file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from fervit.images.face_index import FaceIndex
from fervit.images.pictures import SUFFIXES
from fervit.io.json_lines import rows_of
from fervit.io.storage import child, locate, write_whole
from fervit.labels.emotions import split_of

FILE = "_names.jsonl"
Owners = Mapping[str, str]
"""The path of a face below the output folder -> the image id of its picture."""


class FaceNames(NamedTuple):
    """The faces of some pictures."""

    paths: list[str]
    """The path of each picture's face below the output folder. No two are equal."""
    again: frozenset[str]
    """Paths at which a face of an earlier version lies of which nobody knows which picture it is of."""


def names_of_faces(index: FaceIndex, owners: Owners, there: Collection[str]) -> FaceNames:
    """Names the face of each picture, in the order of the index.

    A picture keeps its face's name. A new one gets that of the picture, without its suffix unless another picture has
    the same one or had it.

    Args:
        index: the pictures.
        owners: the names that are given.
        there: the paths of the faces that are there, below the output folder.
    """
    columns = [index.table[name].to_pylist() for name in ("image_id", "split", "label")]
    keys, rows = list(zip(columns[0], columns[1], strict=True)), _stems(index, *columns)
    kept = {(image_id, PurePosixPath(face).parts[0]): face for face, image_id in owners.items()}
    taken, again = set(owners), set[str]()
    stems = Counter(stem for stem, _ in rows)
    names: list[str] = []
    for key, (stem, place) in zip(keys, rows, strict=True):
        if key in kept:
            names.append(kept[key])
            continue
        short, name, n = f"{stem}.png", f"{place}.png", 1
        alone = stems[stem] == 1
        if short not in taken and (alone or short in there) and (name not in there or name in taken):
            name = short
            again |= set() if alone or short not in there else {short}
        while name in taken:
            n += 1
            name = f"{place}_{n}.png"
        taken.add(name)
        names.append(name)
    return FaceNames(paths=names, again=frozenset(again))


def _stems(
    index: FaceIndex, image_ids: Iterable[str], splits: Iterable[str], labels: Iterable[int]
) -> list[tuple[str, str]]:
    """The path of each picture in the folder of its split and class, without its suffix and with it."""
    rows: list[tuple[str, str]] = []
    for image_id, split, label in zip(image_ids, splits, labels, strict=True):
        parts, emotion = PurePosixPath(image_id).parts, index.label_set.classes[label]
        parts = parts[1:] if len(parts) > 1 and split in (parts[0], split_of(parts[0])) else parts
        parts = parts[1:] if len(parts) > 1 and index.label_set.class_of(parts[0]) == emotion else parts
        whole = PurePosixPath(split, emotion, *parts)
        without = whole.with_suffix("") if whole.suffix.lower() in SUFFIXES else whole
        rows.append((str(without), str(whole)))
    return rows


def read_owners(out: str) -> dict[str, str]:
    """Reads which picture has which face; nothing in a folder of an earlier version. Damaged lines are left out."""
    filesystem, path = locate(child(out, FILE))
    try:
        with filesystem.open_input_stream(path) as stream:
            rows = rows_of(stream.readall(), path, "skip")
    except OSError:
        return {}
    return {row["face"]: row["image_id"] for row in rows if isinstance(row.get("face"), str) and "image_id" in row}


def write_owners(out: str, owners: Owners) -> None:
    """Writes which picture has which face, into the output folder.

    Raises:
        OSError: the folder cannot be written.
    """
    filesystem, path = locate(child(out, FILE))
    lines = [json.dumps({"face": face, "image_id": image_id}) + "\n" for face, image_id in owners.items()]
    write_whole(filesystem, path, lambda file: file.write("".join(lines).encode()))
