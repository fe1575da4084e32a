"""Lists the pictures of class folders, <split>/<emotion>/*.png or those of one split, on any file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs
from PIL import Image

from fervit.emotions import EMOTIONS, SPLITS, emotion_of, split_of
from fervit.errors import UserError
from fervit.images.face_index import SCHEMA, FaceIndex
from fervit.images.passed_over import (
    LINK_BACK,
    NO_CLASS,
    NO_FILE,
    NO_PICTURE,
    NO_PICTURES,
    NO_SPLIT,
    PassedOver,
    why_not,
)
from fervit.images.pictures import SUFFIXES
from fervit.parsing import nearest
from fervit.storage import child_of, naming


class Entry(NamedTuple):
    """A folder or a file below the data root, with its path from there, whose parts are separated by `/`."""

    path: str
    is_folder: bool
    passed_over: str = ""
    """Why the file is passed over; "" for a folder, and for a file that may be a picture."""


def index_folder(root: str, filesystem: pafs.FileSystem, path: str) -> FaceIndex:
    """Lists all pictures in the class folders, sorted by path, and what else lies there.

    Args:
        root: the data root, as the user named it.
        filesystem: the file system that it is on.
        path: the path of the data root on that file system.

    Raises:
        UserError: a folder of pictures is named after neither a split nor an emotion, or the root cannot be listed.
    """
    if isinstance(filesystem, pafs.LocalFileSystem):
        entries = sorted(_local_entries(Path(path)))
        path = str(Path(path).absolute())  # tasks have other working directories
        name_of_split = Path(path).resolve().name
    else:
        entries = sorted(_remote_entries(root, filesystem, path))
        name_of_split = PurePosixPath(path).name
    layout = _Layout.of(root, entries, split_of(name_of_split) or name_of_split)
    rows: list[tuple[str, str, int, str]] = []
    passed_over = [PassedOver(readable(entry.path), entry.passed_over) for entry in entries if entry.passed_over]
    for entry in entries:
        if entry.is_folder or entry.passed_over:
            continue
        place = layout.place(PurePosixPath(entry.path).parts)
        source = _source(path, entry.path)
        if isinstance(place, str):
            passed_over.append(PassedOver(readable(entry.path), place))
        elif not _is_picture(entry.path) and not (source and _pillow_reads(filesystem, source)):
            passed_over.append(PassedOver(readable(entry.path), NO_PICTURE))
        else:
            rows.append((readable(entry.path), *place, source))
    columns = {name: [row[i] for row in rows] for i, name in enumerate(SCHEMA.names)}
    return FaceIndex(
        root=root,
        kind="file",
        table=pa.table(columns, schema=SCHEMA),
        filesystem=filesystem,
        one_split=layout.one_split,
        passed_over=tuple(sorted(passed_over)),
        remarks=layout.remarks(),
    )


@dataclass(frozen=True)
class _Layout:
    """Which folders are the splits and the classes of a data root."""

    one_split: bool
    splits: dict[str, str]
    """The names of folders -> the splits that they mean. For one split, "" -> its name."""
    classes: dict[str, str]
    """The names of class folders -> the emotions that they mean."""

    @classmethod
    def of(cls, root: str, entries: list[Entry], name_of_split: str) -> _Layout:
        """Understands the folders of a data root.

        Raises:
            UserError: a folder that holds pictures is neither a split nor a class, or two folders mean one split.
        """
        files = [PurePosixPath(entry.path).parts for entry in entries if not entry.is_folder and not entry.passed_over]
        full = {parts[: i + 1] for parts in files for i in range(len(parts) - 1)}  # the folders that hold something
        top = [entry.path for entry in entries if entry.is_folder and "/" not in entry.path]
        splits = {name: split for name in top if (split := split_of(name)) is not None}
        one_split = not splits and any(emotion_of(name) is not None for name in top)
        if one_split:
            splits, depth = {"": name_of_split}, 1
        else:
            depth = 2
            _check_splits(root, top, splits, full)
        folders = [entry.path for entry in entries if entry.is_folder and entry.path.count("/") == depth - 1]
        classes = {}
        for folder in folders:
            parts = PurePosixPath(folder).parts
            if not one_split and parts[0] not in splits:
                continue
            emotion = emotion_of(parts[-1])
            if emotion is not None:
                classes[parts[-1]] = emotion
            elif parts in full or not files:
                _refuse_class(root, folder, parts[-1])
        return cls(one_split, splits, classes)

    def place(self, parts: tuple[str, ...]) -> tuple[str, int] | str:
        """The split and the label of a file, or why it has none."""
        split = self.splits.get("" if self.one_split else parts[0])
        below = parts if self.one_split else parts[1:]
        if split is None:
            return NO_SPLIT
        if len(below) < 2 or below[0] not in self.classes:
            return NO_CLASS if self.one_split or len(parts) > 1 else NO_SPLIT
        return split, EMOTIONS.index(self.classes[below[0]])

    def remarks(self) -> tuple[str, ...]:
        """Says which names were taken for which splits and emotions, where they are not the same."""
        of_splits = [f"{name} as {split}" for name, split in self.splits.items() if name not in ("", split)]
        of_classes = [f"{name} as {emotion}" for name, emotion in self.classes.items() if name.lower() != emotion]
        return tuple(f"names: {', '.join(found)}" for found in (of_splits + of_classes,) if found)


def _check_splits(root: str, top: list[str], splits: dict[str, str], full: set[tuple[str, ...]]) -> None:
    """Raises UserError if a folder beside the splits holds pictures, if two mean the same, or if there are none."""
    if top and not splits:
        below = [name for name in top if (name,) in full]
        shown = below[0] if below else top[0]
        inside = f"; give --data_root {root.rstrip('/')}/{shown}, if that is where they are" if len(below) == 1 else ""
        raise UserError(
            f"--data_root {root}: has '{shown}' but no train, val or test folder and no folder named after an emotion "
            f"({', '.join(EMOTIONS)}); {nearest(shown, (*SPLITS, *EMOTIONS))}{inside}"
        )
    for name in top:
        if splits and name not in splits and (name,) in full:
            raise UserError(
                f"--data_root {root}: '{name}' stands beside {next(iter(splits))} but is no split; splits are "
                f"{', '.join(SPLITS)} ({nearest(name.lower(), SPLITS)}): rename or move it"
            )
    for name, split in splits.items():
        others = [other for other, same in splits.items() if same == split and other != name]
        if others:
            raise UserError(f"--data_root {root}: '{name}' and '{others[0]}' both mean {split}; move one of them")


def _refuse_class(root: str, folder: str, name: str) -> None:
    """Raises UserError for a class folder that is not named after an emotion."""
    raise UserError(
        f"{root.rstrip('/')}/{folder}: '{name}' is not one of the seven emotions ({', '.join(EMOTIONS)}) or a common "
        f"name of one; {nearest(name.lower(), EMOTIONS)}: rename the folder, or move it out of the data root"
    )


def _local_entries(
    folder: Path, prefix: str = "", above: frozenset[Path] = frozenset(), why: str = ""
) -> Iterator[Entry]:
    """Yields folders and files. Links are followed, unless they lead to a folder above themselves.

    What lies in a folder that is passed over, for which `why` has the reason, is passed over, too.
    """
    resolved = folder.resolve()
    if resolved in above:
        yield Entry(prefix.rstrip("/"), is_folder=False, passed_over=LINK_BACK)
        return
    with os.scandir(folder) as found:
        for item in found:
            path, reason = f"{prefix}{item.name}", why or why_not(item.name)
            try:
                is_folder, special = item.is_dir(), not item.is_file() and Path(item.path).exists()
            except OSError:  # a link to itself, which is reported when it is read
                is_folder = special = False
            if is_folder:
                if not reason:
                    yield Entry(readable(path), is_folder=True)
                yield from _local_entries(folder / item.name, f"{path}/", above | {resolved}, reason)
            elif special:  # reading a named pipe would never end
                yield Entry(path, is_folder=False, passed_over=reason or NO_FILE)
            else:
                yield Entry(path, is_folder=False, passed_over=reason)


def _remote_entries(root: str, filesystem: pafs.FileSystem, path: str) -> Iterator[Entry]:
    """Yields folders and files of a file system that is not local."""
    with naming(f"--data_root {root}", "cannot be listed"):
        infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    folders: set[str] = set()
    for info in infos:
        inner = PurePosixPath(info.path).relative_to(path.rstrip("/"))
        reason = next((reason for part in inner.parts if (reason := why_not(part))), "")
        if info.is_file:
            yield Entry(str(inner), is_folder=False, passed_over=reason)
        if not reason:
            above = inner.parents if info.is_file else (inner, *inner.parents)
            folders.update(str(folder) for folder in above if str(folder) != ".")  # stores may not list them
    yield from (Entry(folder, is_folder=True) for folder in folders)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _pillow_reads(filesystem: pafs.FileSystem, source: str) -> bool:
    """Whether a file of an unknown suffix is a picture, by its first bytes."""
    if PurePosixPath(source).suffix.lower() in NO_PICTURES:
        return False
    try:
        with filesystem.open_input_file(source) as file, Image.open(file):
            return True
    except Exception:  # PIL raises a dozen kinds on bytes that are no picture
        return False


def _source(root: str, path: str) -> str:
    """The path of a picture on its file system, or "" if its name is not UTF-8, which pyarrow cannot store."""
    return child_of(root, path) if path == readable(path) else ""


def readable(path: str) -> str:
    """A name as text, with escapes such as `caf\\xe9.png` for bytes that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
