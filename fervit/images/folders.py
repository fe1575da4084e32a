"""Class folders: train/val/test/<emotion>/*.png|jpg, or the class folders of one split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from fervit.emotions import EMOTIONS, SPLITS
from fervit.errors import UserError
from fervit.images.index import SCHEMA, FaceIndex
from fervit.images.pictures import SUFFIXES
from fervit.structure import nearest


def index_folder(root: Path) -> FaceIndex:
    """Every picture below the class folders, sorted by path. Hidden files and folders are passed over."""
    folders = _subfolders(root)
    splits = [folder for folder in folders if folder.name in SPLITS]
    one_split = not splits and any(_emotion(folder) is not None for folder in folders)
    if folders and not splits and not one_split:
        hint = nearest(folders[0].name, (*SPLITS, *EMOTIONS))
        raise UserError(
            f"--data_root {root}: has '{folders[0].name}' but no train, val or test folder and no folder named after "
            f"an emotion ({', '.join(EMOTIONS)}); {hint}"
        )
    for folder in folders if splits else ():
        if folder.name not in SPLITS:
            raise UserError(
                f"--data_root {root}: '{folder.name}' stands beside {splits[0].name} but is no split; splits are "
                f"{', '.join(SPLITS)} ({nearest(folder.name.lower(), SPLITS)}): rename or move it"
            )
    rows = list(_rows(root, root, root.resolve().name) if one_split else _all_rows(root, splits))
    names = ("image_id", "split", "label", "source")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    return FaceIndex(root=str(root), kind="file", table=pa.table(columns, schema=SCHEMA), one_split=one_split)


def _all_rows(root: Path, splits: list[Path]) -> Iterator[tuple[str, str, int, str]]:
    for split in splits:
        yield from _rows(root, split, split.name)


def _rows(root: Path, split_folder: Path, split: str) -> Iterator[tuple[str, str, int, str]]:
    for folder in _subfolders(split_folder):
        label = _emotion(folder)
        if label is None:
            raise UserError(
                f"{folder}: '{folder.name}' is not one of the seven emotions ({', '.join(EMOTIONS)}); "
                f"{nearest(folder.name.lower(), EMOTIONS)}"
            )
        for path in _pictures(folder):
            yield path.relative_to(root).as_posix(), split, label, str(path.absolute())


def _pictures(folder: Path) -> Iterator[Path]:
    seen: set[Path] = set()  # a linked folder may lead back to one above it
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if Path(parent).resolve() in seen:
            folders.clear()
            continue
        seen.add(Path(parent).resolve())
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(parent, name)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _emotion(folder: Path) -> int | None:
    name = folder.name.lower()
    return EMOTIONS.index(name) if name in EMOTIONS else None
