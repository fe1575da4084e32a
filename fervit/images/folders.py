"""Lists the pictures of class folders, <split>/<emotion>/*.png or those of one split, on any file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from fervit.emotions import EMOTIONS, SPLITS
from fervit.errors import UserError
from fervit.images.face_index import SCHEMA, FaceIndex
from fervit.images.pictures import SUFFIXES
from fervit.parsing import nearest
from fervit.storage import child_of, naming


class Entry(NamedTuple):
    """A folder or a picture below the data root, with its path from there, whose parts are separated by `/`."""

    path: str
    is_folder: bool


def index_folder(root: str, filesystem: pafs.FileSystem, path: str) -> FaceIndex:
    """Lists all pictures in the class folders, sorted by path. Hidden files and folders are left out.

    Args:
        root: the data root, as the user named it.
        filesystem: the file system that it is on.
        path: the path of the data root on that file system.

    Raises:
        UserError: a folder is named after neither a split nor an emotion, or the data root cannot be listed.
    """
    if isinstance(filesystem, pafs.LocalFileSystem):
        entries = sorted(_local_entries(Path(path)))
        path = str(Path(path).absolute())  # tasks have other working directories
        name_of_split = Path(path).resolve().name
    else:
        entries = sorted(_remote_entries(root, filesystem, path))
        name_of_split = PurePosixPath(path).name
    one_split = _is_one_split(root, [entry.path for entry in entries if entry.is_folder and "/" not in entry.path])
    rows: list[tuple[str, str, int, str]] = []
    for entry in entries:
        parts = PurePosixPath(entry.path).parts
        split, below = (name_of_split, parts) if one_split else (parts[0], parts[1:])
        if entry.is_folder and len(below) == 1:
            _check_emotion(root, entry.path, below[0])
        elif not entry.is_folder and len(below) > 1:
            label = EMOTIONS.index(below[0].lower())
            rows.append((readable(entry.path), split, label, _source(path, entry.path)))
    columns = {name: [row[i] for row in rows] for i, name in enumerate(SCHEMA.names)}
    table = pa.table(columns, schema=SCHEMA)
    return FaceIndex(root=root, kind="file", table=table, filesystem=filesystem, one_split=one_split)


def _is_one_split(root: str, top: list[str]) -> bool:
    """Whether the data root is a folder of class folders rather than of splits, by the folders at its top.

    Raises:
        UserError: the folders are neither, or one of them is no split.
    """
    splits = [name for name in top if name in SPLITS]
    one_split = not splits and any(name.lower() in EMOTIONS for name in top)
    if top and not splits and not one_split:
        raise UserError(
            f"--data_root {root}: has '{top[0]}' but no train, val or test folder and no folder named after an emotion "
            f"({', '.join(EMOTIONS)}); {nearest(top[0], (*SPLITS, *EMOTIONS))}"
        )
    for name in top if splits else ():
        if name not in SPLITS:
            raise UserError(
                f"--data_root {root}: '{name}' stands beside {splits[0]} but is no split; splits are "
                f"{', '.join(SPLITS)} ({nearest(name.lower(), SPLITS)}): rename or move it"
            )
    return one_split


def _check_emotion(root: str, folder: str, name: str) -> None:
    """Raises UserError if a class folder is not named after an emotion."""
    if name.lower() not in EMOTIONS:
        raise UserError(
            f"{root.rstrip('/')}/{folder}: '{name}' is not one of the seven emotions ({', '.join(EMOTIONS)}); "
            f"{nearest(name.lower(), EMOTIONS)}"
        )


def _local_entries(folder: Path, prefix: str = "", above: frozenset[Path] = frozenset()) -> Iterator[Entry]:
    """Yields folders and pictures. Links are followed, unless they lead to a folder above themselves."""
    resolved = folder.resolve()
    if resolved in above:
        return
    with os.scandir(folder) as found:
        for item in found:
            path = f"{prefix}{item.name}"
            if item.name.startswith("."):
                continue
            try:
                is_folder, special = item.is_dir(), not item.is_file() and Path(item.path).exists()
            except OSError:  # a link to itself, which is reported when it is read
                is_folder = special = False
            if is_folder:
                yield Entry(readable(path), is_folder=True)
                yield from _local_entries(folder / item.name, f"{path}/", above | {resolved})
            elif _is_picture(item.name) and not special:  # reading a named pipe would never end
                yield Entry(path, is_folder=False)


def _remote_entries(root: str, filesystem: pafs.FileSystem, path: str) -> Iterator[Entry]:
    """Yields folders and pictures of a file system that is not local."""
    with naming(f"--data_root {root}", "cannot be listed"):
        infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    folders: set[str] = set()
    for info in infos:
        inner = PurePosixPath(info.path).relative_to(path.rstrip("/"))
        if any(part.startswith(".") for part in inner.parts):
            continue
        above = inner.parents if info.is_file else (inner, *inner.parents)
        folders.update(str(folder) for folder in above if str(folder) != ".")  # object stores may not list them
        if info.is_file and _is_picture(inner.name):
            yield Entry(str(inner), is_folder=False)
    yield from (Entry(folder, is_folder=True) for folder in folders)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _source(root: str, path: str) -> str:
    """The path of a picture on its file system, or "" if its name is not UTF-8, which pyarrow cannot store."""
    return child_of(root, path) if path == readable(path) else ""


def readable(path: str) -> str:
    """A name as text, with escapes such as `caf\\xe9.png` for bytes that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
