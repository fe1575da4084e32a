"""`_errors.jsonl` lists the faces of a split that could not be encoded, with the reasons."""

from __future__ import annotations

import time

import pyarrow.fs as pafs

from fervit.json_lines import rows_of, text_of
from fervit.storage import child_of, locate, naming, write_whole

ERRORS_FILE = "_errors.jsonl"
WRITE_EVERY_S = 5.0
"""The files are written at most this often while a job runs, in seconds."""


class FailureLog:
    """Collects the failures of a running job and keeps each split's file up to date.

    Args:
        folders: the folder of each split's latents.
        before: for each split, the failures of earlier jobs that stay in its file: image_id -> reason.
    """

    def __init__(self, folders: dict[str, str], before: dict[str, dict[str, str]]) -> None:
        self._folders = folders
        self._failures = {split: dict(reasons) for split, reasons in before.items()}
        self._changed = set(folders)
        self._written = time.monotonic()
        self.first: tuple[str, str] | None = None
        """image_id and reason of the first failure of this job."""

    def add(self, split: str, image_id: str, reason: str) -> None:
        """Adds a failure, and writes the files if that is due."""
        self.first = self.first or (image_id, reason)
        self._failures[split][image_id] = reason
        self._changed.add(split)
        if time.monotonic() - self._written > WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Writes the files of the splits whose failures have changed since they were written last."""
        for split in sorted(self._changed):
            write_failures(self._folders[split], self._failures[split])
        self._changed.clear()
        self._written = time.monotonic()


def read_failures(folder: str) -> dict[str, str]:
    """Reads the failures of a split: image_id -> reason.

    Lines that cannot be read are left out, so that their faces are tried again.
    """
    filesystem, path = _file_in(folder)
    with naming(path, "cannot be read"):
        if not filesystem.get_file_info(path).is_file:
            return {}
        with filesystem.open_input_stream(path) as stream:
            content = stream.readall()
    rows = rows_of(content, path, damaged="skip")
    return {str(row["image_id"]): str(row["reason"]) for row in rows if "image_id" in row and "reason" in row}


def write_failures(folder: str, failures: dict[str, str]) -> None:
    """Replaces the file of a split, whole or not at all. Without failures it is deleted."""
    filesystem, path = _file_in(folder)
    if not failures:
        if filesystem.get_file_info(path).is_file:
            filesystem.delete_file(path)
        return
    text = text_of({"image_id": name, "reason": failures[name]} for name in sorted(failures))
    write_whole(filesystem, path, lambda file: file.write(text.encode()))


def _file_in(folder: str) -> tuple[pafs.FileSystem, str]:
    filesystem, inner = locate(folder)
    return filesystem, child_of(inner, ERRORS_FILE)
