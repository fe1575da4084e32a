"""Changes files and folders on local disks, and says when a change outlives a power cut.

Whatever fervit keeps is written through this module, by way of `files.py`, `json_lines.py` and `storage.py`. A disk may
hold changes back and carry them out in another order, until it is told to sync: the content of a file with
`sync_file`, the names in a folder (new files, renamed ones, removed ones) with `sync_folder`. Pillai et al., "All File
Systems Are Not Created Equal", OSDI 2014, describe what a power cut leaves otherwise.

Each change can be watched (`watched`), from which the tests in `tests/crash` work out every state that a power cut can
leave behind.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal[
    "create",
    "append",
    "write",
    "truncate",
    "sync",
    "rename",
    "remove",
    "make folder",
    "remove folder",
    "sync folder",
]
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EBADF)
"""What file systems say that cannot sync a folder, such as some FUSE mounts."""


class Operation(NamedTuple):
    """A change of a file or a folder, which has just been made."""

    kind: Kind
    """"write" stands for all that was written into a file aside, whose content can be read now."""
    path: Path
    target: Path | None = None
    """The new path of what is renamed."""
    data: bytes = b""
    """The bytes that are appended."""
    size: int = 0
    """The new size of a file that is truncated."""


Watcher = Callable[[Operation], None]
_watcher: Watcher | None = None


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Calls a function with each change that this process makes while the block runs."""
    global _watcher
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before


class AppendedFile:
    """A file that grows at its end, without a buffer: what is appended outlives the process, but not a power cut.

    Args:
        path: the path of the file, which is created if it is missing. Its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        is_new = not path.exists()
        self.path = path
        self._file = path.open("ab", buffering=0)
        if is_new:
            _tell(Operation("create", path))
            sync_folder(path.parent)

    def append(self, content: bytes) -> None:
        """Appends bytes.

        Raises:
            OSError: the file cannot be written, such as on a full disk. A part may have been written.
        """
        left = memoryview(content)
        while left:
            written = self._file.write(left)
            _tell(Operation("append", self.path, data=bytes(left[:written])) if _watcher else None)
            left = left[written:]

    def sync(self) -> None:
        """Makes what has been appended outlive a power cut."""
        os.fsync(self._file.fileno())
        _tell(Operation("sync", self.path))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def append_text(path: Path, text: str) -> None:
    """Appends a text to a file in UTF-8, and makes it outlive a power cut."""
    file = AppendedFile(path)
    try:
        file.append(text.encode())
        file.sync()
    finally:
        file.close()


def new_file_aside(path: Path) -> Path:
    """Creates a hidden file `.<name>.<random>` beside a path, which only its owner may read."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    _tell(Operation("create", Path(name)))
    return Path(name)


def sync_written(path: Path) -> None:
    """Makes the content of a file that another library has written outlive a power cut."""
    _tell(Operation("write", path))
    _sync(path)
    _tell(Operation("sync", path))


def truncate(path: Path, size: int) -> None:
    """Cuts a file off after `size` bytes. A later `sync` of the file includes that."""
    with path.open("r+b") as file:
        file.truncate(size)
    _tell(Operation("truncate", path, size=size))


def rename(path: Path, target: Path) -> None:
    """Gives a file another name, in place of a file that had it."""
    path.replace(target)
    _tell(Operation("rename", path, target))


def remove(path: Path) -> None:
    """Removes a file, which may be missing."""
    with suppress(FileNotFoundError):
        path.unlink()
        _tell(Operation("remove", path))


def remove_tree(folder: Path) -> None:
    """Removes a folder and all that is in it as far as possible; it may be missing."""
    found: list[Operation] = []
    if _watcher is not None and folder.is_dir():
        for place, folders, files in os.walk(folder, topdown=False):
            found += [Operation("remove", Path(place, name)) for name in files]
            found += [Operation("remove folder", Path(place, name)) for name in folders]
        found.append(Operation("remove folder", folder))
    shutil.rmtree(folder, ignore_errors=True)
    for operation in found:
        if not operation.path.exists():
            _tell(operation)


def touch(path: Path) -> None:
    """Creates an empty file unless it exists."""
    is_new = not path.exists()
    path.touch()
    if is_new:
        _tell(Operation("create", path))


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, so that they outlive a power cut; it may exist.

    Raises:
        FileExistsError: there is a file of that name.
    """
    if folder.is_dir():
        return
    if not folder.parent.exists():
        make_folder(folder.parent)
    try:
        make_new_folder(folder)
    except FileExistsError:  # another process may have just made it
        if not folder.is_dir():
            raise


def make_new_folder(folder: Path) -> None:
    """Makes a folder inside one that exists, so that it outlives a power cut.

    Raises:
        FileExistsError: the folder exists.
    """
    folder.mkdir()
    _tell(Operation("make folder", folder))
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes new, changed and removed names in a folder outlive a power cut, as far as the disk can do that."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    _tell(Operation("sync folder", folder))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tell(operation: Operation | None) -> None:
    if _watcher is not None and operation is not None:
        _watcher(operation)
