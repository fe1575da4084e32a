"""Joins the rows of a user's file, votes or groups, to faces whose image ids are not those of the file.

Those are what preprocessing cut out, and FER+'s pictures. Each way is exact: an image id that may mean two rows, or
rows that two faces may mean, are not joined.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from fervit.images.layouts.ferplus import FOLDERS
from fervit.images.pictures import SUFFIXES
from fervit.labels.emotions import emotion_of, split_of

ROW, OF_FERPLUS = re.compile(r"row-\d{5,}"), re.compile(r"fer\d{7}")
"""The names of rows of fer2013.csv, and of FER+'s pictures, which mean one face without their folders."""
Key = tuple[str, str]
"""The split of a picture of FER+ or "", and its name; or PATH, and a path."""
PATH = "path"


def other_keys(ids: Sequence[str], names: Sequence[tuple[str, str]] = ()) -> dict[Key, str]:
    """By what else than its image id each row is found.

    Args:
        ids: the image id of each row.
        names: the Usage and the name of the picture of each row, which FER+'s own file has; empty for other files.

    Returns:
        Keys as of `keys_of` -> image ids, without keys that mean several rows.
    """
    pairs: list[tuple[Key, str]] = [((PATH, path), name) for name in ids for path in {_path(name), _path(_stem(name))}]
    for name, (usage, picture) in zip(ids if names else (), names, strict=True):
        if picture:
            pairs += [((split, _stem(picture)), name) for split in {split_of(usage) or "", ""}]
    counts = Counter(key for key, _ in pairs)
    return {key: name for key, name in pairs if counts[key] == 1}


def joined(image_ids: Sequence[str], rows: Mapping[str, object], others: Mapping[Key, str]) -> list[str | None]:
    """The image id under which a file has the row of each face; None if it has none.

    Args:
        image_ids: the image ids of the faces.
        rows: the rows of the file by their image ids.
        others: from `other_keys`.
    """
    found = [
        name if name in rows else next((others[key] for key in keys_of(name) if key in others), None)
        for name in image_ids
    ]
    uses = Counter(found)
    return [
        one if one is not None and (one == name or uses[one] == 1) else None
        for one, name in zip(found, image_ids, strict=True)
    ]


def keys_of(image_id: str) -> Iterator[Key]:
    """The keys by which the row of a face is looked for, the surest first."""
    path = PurePosixPath(_stem(image_id))
    if ROW.fullmatch(path.name):
        yield PATH, path.name
    if OF_FERPLUS.fullmatch(path.name):
        folders = path.parts[:-1]
        splits = [*(FOLDERS.get(part) for part in folders), *map(split_of, folders), ""]
        yield from ((split, path.name) for split in splits if split is not None)
    yield PATH, _path(str(path))
    if len(path.parts) > 3 and split_of(path.parts[0]) is not None:  # <split>/<class>/ before the picture's own path
        yield PATH, _path(str(PurePosixPath(*path.parts[2:])))


def _path(name: str) -> str:
    """A path with the common names of its splits and emotions."""
    *folders, last = PurePosixPath(name).parts or ("",)
    return "/".join([*(split_of(part) or emotion_of(part) or part for part in folders), last])


def _stem(name: str) -> str:
    """A path without the suffix of a picture."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name
