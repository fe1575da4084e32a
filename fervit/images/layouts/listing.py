"""Lists what lies below a data root, on any file system."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow.fs as pafs
from PIL import Image

from fervit.images.passed_over import (
    LINK_AGAIN,
    LINK_BACK,
    NO_FILE,
    NO_PICTURES,
    NOT_LISTED,
    OF_PREPROCESSING,
    PassedOver,
    why_not,
)
from fervit.images.pictures import SUFFIXES
from fervit.io.storage import child_of, naming
from fervit.labels.emotions import split_of

READERS = 16
"""The number of threads that read small files, such as the annotations of AffectNet."""


class Entry(NamedTuple):
    """A folder or a file below the data root, with its path from there, whose parts are separated by `/`."""

    path: str
    is_folder: bool
    passed_over: str = ""
    """Why the file is passed over; "" for a folder, and for a file that may be a picture."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies below a data root."""

    root: str
    """The data root, as the user named it."""
    filesystem: pafs.FileSystem
    path: str
    """The path of the data root on that file system."""
    name_of_split: str
    """The split that the data root is, by its name, if it is one."""
    entries: list[Entry]
    """Sorted by path."""

    @property
    def files(self) -> list[str]:
        """The paths of the files that may be read."""
        return [entry.path for entry in self.entries if not entry.is_folder and not entry.passed_over]

    @property
    def passed_over(self) -> list[PassedOver]:
        """The files that are passed over by their names."""
        return [PassedOver(readable(entry.path), entry.passed_over) for entry in self.entries if entry.passed_over]

    def read(self, paths: Sequence[str]) -> list[bytes]:
        """Reads whole files, many at a time.

        Raises:
            UserError: one of them cannot be read.
        """

        def read(path: str) -> bytes:
            with naming(path, "cannot be read"), self.filesystem.open_input_stream(child_of(self.path, path)) as file:
                return bytes(file.read())

        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(read, paths))

    def source(self, path: str) -> str:
        """The path of a file on its file system, or "" if its name is not UTF-8, which pyarrow cannot store."""
        return child_of(self.path, path) if path == readable(path) else ""

    def is_picture(self, path: str) -> bool:
        """Whether a file is a picture, by its suffix or else by its first bytes."""
        source = self.source(path)
        return path.lower().endswith(SUFFIXES) or (bool(source) and _pillow_reads(self.filesystem, source))


def list_folder(root: str, filesystem: pafs.FileSystem, path: str) -> Listing:
    """Lists all that lies below a data root.

    Args:
        root: the data root, as the user named it.
        filesystem: the file system that it is on.
        path: the path of the data root on that file system.

    Raises:
        UserError: the root cannot be listed.
    """
    if isinstance(filesystem, pafs.LocalFileSystem):
        entries = sorted(_LocalFolders(Path(path)).entries)
        path = str(Path(path).absolute())  # tasks have other working directories
        name = Path(path).resolve().name
    else:
        entries = sorted(_remote_entries(root, filesystem, path))
        name = PurePosixPath(path).name
    name_of_split = split_of(name) or name
    return Listing(root=root, filesystem=filesystem, path=path, name_of_split=name_of_split, entries=entries)


class _LocalFolders:
    """Walks through a local folder. Links to folders are followed, but no folder is read twice or from inside itself.

    What is there under its own name goes before what a link leads to.

    Args:
        root: the folder.

    Raises:
        UserError: the folder itself cannot be listed.
    """

    def __init__(self, root: Path) -> None:
        self.entries: list[Entry] = []
        self._read: set[Path] = set()
        self._links: list[tuple[Path, str]] = []
        top = root.resolve()
        with naming(f"--data_root {root}", "cannot be listed"), os.scandir(root):
            pass
        self._walk(root, top, "", "")
        while self._links:
            self._follow(*self._links.pop(0), top)

    def _follow(self, link: Path, path: str, top: Path) -> None:
        """Reads the folder that a link leads to, unless it is read elsewhere or holds the data root or the link."""
        real = link.resolve()
        if real in top.parents or real in link.parent.resolve().parents or real in (top, link.parent.resolve()):
            self._note(path, LINK_BACK)
        elif real in self._read:
            self._note(path, LINK_AGAIN)
        else:
            self.entries.append(Entry(readable(path), is_folder=True))
            self._walk(link, real, f"{path}/", "")

    def _walk(self, folder: Path, real: Path, prefix: str, why: str) -> None:
        """Notes what lies in a folder; links to folders wait until all else is read.

        Args:
            folder: the folder.
            real: its path without links.
            prefix: its path below the data root, with a slash at its end.
            why: why it is passed over, and what lies in it, too; "" if it is not.
        """
        if not why:
            self._read.add(real)
        try:
            with os.scandir(folder) as found:
                items = sorted(found, key=lambda item: item.name)
        except OSError:
            self._note(prefix.rstrip("/"), why or NOT_LISTED)
            return
        for item in items:
            if item.name in OF_PREPROCESSING:
                continue
            path, reason = f"{prefix}{item.name}", why or why_not(item.name)
            try:
                is_folder = item.is_dir()
                special = not is_folder and not item.is_file() and Path(item.path).exists()
            except OSError:  # a link to itself, which is reported when it is read
                is_folder = special = False
            if is_folder and not item.is_symlink():
                self._inside(folder / item.name, real / item.name, path, reason)
            elif is_folder and not reason:
                self._links.append((folder / item.name, path))
            else:  # reading a named pipe would never end
                self._note(path, reason or (NO_FILE if special else ""))

    def _inside(self, folder: Path, real: Path, path: str, reason: str) -> None:
        """Walks through a folder that is no link."""
        if not reason and real in self._read:  # a link has led into it before
            self._note(path, LINK_AGAIN)
            return
        if not reason:
            self.entries.append(Entry(readable(path), is_folder=True))
        self._walk(folder, real, f"{path}/", reason)

    def _note(self, path: str, passed_over: str) -> None:
        self.entries.append(Entry(path, is_folder=False, passed_over=passed_over))


def _remote_entries(root: str, filesystem: pafs.FileSystem, path: str) -> Iterator[Entry]:
    """Yields folders and files of a file system that is not local."""
    with naming(f"--data_root {root}", "cannot be listed"):
        infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    folders: set[str] = set()
    for info in infos:
        inner = PurePosixPath(info.path).relative_to(path.rstrip("/"))
        if inner.name in OF_PREPROCESSING:
            continue
        reason = next((reason for part in inner.parts if (reason := why_not(part))), "")
        if info.is_file:
            yield Entry(str(inner), is_folder=False, passed_over=reason)
        if not reason:
            above = inner.parents if info.is_file else (inner, *inner.parents)
            folders.update(str(folder) for folder in above if str(folder) != ".")  # stores may not list them
    yield from (Entry(folder, is_folder=True) for folder in folders)


def _pillow_reads(filesystem: pafs.FileSystem, source: str) -> bool:
    """Whether a file of an unknown suffix is a picture, by its first bytes."""
    if PurePosixPath(source).suffix.lower() in NO_PICTURES:
        return False
    try:
        with filesystem.open_input_file(source) as file, Image.open(file):
            return True
    except Exception:  # PIL raises a dozen kinds on bytes that are no picture
        return False


def readable(path: str) -> str:
    """A name as text, with escapes such as `caf\\xe9.png` for bytes that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
