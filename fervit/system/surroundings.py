"""Completes the environment of a process that lacks a user name, a home or a cache, as in many containers."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

CACHES = {"MPLCONFIGDIR": ".config", "TRITON_CACHE_DIR": ".triton"}
"""The variable that names the folder of a library -> its folder below the home that it would write into."""


def complete() -> None:
    """Sets USER and HOME where neither they nor an entry of the user exist, and moves caches out of a read-only home.

    PyTorch asks for the name of the user, and Ray for the home.
    """
    if not _has_entry():
        name = f"uid{os.getuid()}"
        if not any(os.environ.get(key) for key in ("LOGNAME", "USER", "LNAME", "USERNAME")):
            os.environ["USER"] = name
        if not os.environ.get("HOME"):
            os.environ["HOME"] = str(_private_folder())
    for variable, inside in CACHES.items():
        if variable not in os.environ and not can_write_below(Path.home() / inside):
            os.environ[variable] = str(_private_folder())


def can_write_below(folder: Path) -> bool:
    """Whether a folder can be written to, or made in the nearest folder above it that exists."""
    first = folder
    while not first.parent.exists() and first != first.parent:
        first = first.parent
    if first.exists():
        return first.is_dir() and os.access(first, os.W_OK | os.X_OK)
    try:  # rights do not tell it of read-only disks and special file systems
        first.mkdir()
        first.rmdir()
    except OSError:
        return False
    return True


def _has_entry() -> bool:
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


def _private_folder() -> Path:
    """A folder of this user among the temporary ones, which nobody else can have prepared."""
    folder = Path(tempfile.gettempdir(), f"fervit_{os.getuid()}")
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="fervit_"))
    return folder
