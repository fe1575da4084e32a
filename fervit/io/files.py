"""Writes files that appear whole or not at all, locks folders, and recognises broken downloads."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fervit.errors import NEEDS_UNIX, UserError
from fervit.io.disk import make_folder, new_file_aside, remove, rename, sync_folder, sync_written

try:
    import fcntl
except ImportError as error:
    raise ImportError(NEEDS_UNIX) from error

JsonObject = dict[str, Any]
"""What becomes a JSON object in a file, or was one: the border between a file and the dataclass that stands for it."""


@contextmanager
def whole_file(path: Path, *, one_of_many: bool = False) -> Iterator[Path]:
    """Writes a file that appears whole or not at all, and that outlives a power cut once the block has ended.

    Missing parent folders are made. After a crash at most a hidden file `.<name>.<random>` is left, which fervit never
    reads.

    Args:
        path: the path of the file.
        one_of_many: whether the caller writes many files into the folder and then calls `sync_folder` once. Until then
            a power cut may take the file away again, but never leaves a part of it.

    Yields:
        The path to write to. It is renamed to `path` when the block ends without an exception.
    """
    make_folder(path.parent)
    aside = new_file_aside(path)
    try:
        yield aside
        sync_written(aside)
        aside.chmod(0o666 & ~_umask())  # until now, only its owner may read it
        rename(aside, path)
        if not one_of_many:
            sync_folder(path.parent)
    finally:
        remove(aside)


def write_text(path: Path, text: str) -> None:
    """Writes a text in UTF-8 that appears whole or not at all (see `whole_file`)."""
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON into a file that appears whole or not at all.

    Raises:
        ValueError: the value holds NaN or infinity, which JSON does not have.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_object(path: Path) -> JsonObject | None:
    """Reads the JSON object in a file; None if the file is missing, cannot be read, or holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def sha256_of(path: Path) -> str:
    """Computes the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, of at most 160 characters; its type if it has no message."""
    lines = str(error).splitlines()
    return (lines[0] if lines and lines[0] else type(error).__name__)[:160]


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Locks a folder while the block runs, so that no second command works in it.

    The lock ends with the process, even if that is killed. Where the disk has no locks (some NFS, FUSE and Lustre
    mounts), a line on standard error says so, and the block runs without one.

    Args:
        folder: the folder of a run or a sweep.
        what: "run" or "sweep", for the message.

    Raises:
        UserError: another command has locked the folder.
    """
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"--resume {folder}: another command is at this {what}; wait, or stop it") from None
        except OSError as error:
            sys.stderr.write(
                f"{folder}: its disk has no locks ({first_line(error)}); goes on without one: let no second command "
                f"work at this {what}\n"
            )
        yield


def is_uri(path: str) -> bool:
    """Whether a path is a URI rather than a local path."""
    return "://" in path


def is_missing(path: str) -> bool:
    """Whether a path is local and not there, with `~` for the home folder."""
    return not is_uri(path) and not Path(from_home(path)).exists()


def from_home(path: str) -> str:
    """Replaces `~` or `~user` at the beginning of a path, which shells leave in place after a `=` or in quotes."""
    return os.path.expanduser(path) if re.match(r"~[^/]*(/|$)", path) else path  # noqa: PTH111  (no error without it)


def near(path: Path) -> Path:
    """A path relative to the working directory if it is inside of it, else the path as it is."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def is_locked(folder: Path) -> bool:
    """Whether a command is working in a folder of a run or a sweep."""
    return is_locked_file(folder / ".lock")


def is_locked_file(path: Path) -> bool:
    """Whether a process holds the lock of a file, which may be missing."""
    if not path.is_file():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a disk without locks
            return False
    return False


def recognise_download(path: Path) -> str:
    """Says what is wrong with a downloaded file of any kind, as far as its first bytes show it; "" if nothing is."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return "is empty; download it again"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "is a web page (HTML), not a checkpoint: the hoster sent its quota or login page; download it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"
    return ""


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
