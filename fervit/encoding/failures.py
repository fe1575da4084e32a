"""Lists of faces beside the codes of a split, with reasons: a line of JSON for each.

`_errors.jsonl` lists the faces that could not be encoded, and `_float32.jsonl` those that were encoded in float32, as
their codes were not finite in the folder's float16 arithmetic.
"""

from __future__ import annotations

import time

import pyarrow.fs as pafs

from fervit.io.json_lines import rows_of, text_of
from fervit.io.storage import child_of, delete, locate, naming, write_whole

ERRORS_FILE, FLOAT32_FILE = "_errors.jsonl", "_float32.jsonl"
WRITE_EVERY_S = 5.0
"""The files are written at most this often while a job runs, in seconds."""


class FaceList:
    """Collects faces of a running job and keeps each split's file up to date.

    Args:
        folders: the folder of each split's latents.
        before: for each split, the faces of earlier jobs that stay in its file: image_id -> reason. None keeps those
            that are in the file when a face is added.
        name: the name of the file.
    """

    def __init__(
        self, folders: dict[str, str], before: dict[str, dict[str, str]] | None, name: str = ERRORS_FILE
    ) -> None:
        self._folders, self._name = folders, name
        self._faces = {split: dict(reasons) for split, reasons in (before or {}).items()}
        self._changed = set(self._faces)
        self._written = time.monotonic()
        self.added = 0
        """The number of faces that this job has added."""
        self.first: tuple[str, str] | None = None
        """image_id and reason of the first face that this job has added."""

    def add(self, split: str, image_id: str, reason: str) -> None:
        """Adds a face, and writes the files if that is due."""
        self.first = self.first or (image_id, reason)
        self.added += 1
        if split not in self._faces:
            self._faces[split] = read_faces(self._folders[split], self._name)
        self._faces[split][image_id] = reason
        self._changed.add(split)
        if time.monotonic() - self._written > WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Writes the files of the splits whose faces have changed since they were written last."""
        for split in sorted(self._changed):
            write_faces(self._folders[split], self._faces[split], self._name)
        self._changed.clear()
        self._written = time.monotonic()


def read_faces(folder: str, name: str = ERRORS_FILE) -> dict[str, str]:
    """Reads a list of a split: image_id -> reason.

    Lines that cannot be read are left out, so that faces that failed are tried again. Earlier versions of preprocess.py
    called the reason "error".
    """
    filesystem, path = _file_in(folder, name)
    with naming(path, "cannot be read"):
        if not filesystem.get_file_info(path).is_file:
            return {}
        with filesystem.open_input_stream(path) as stream:
            content = stream.readall()
    rows = rows_of(content, path, damaged="skip")
    reasons = ((row.get("image_id"), row.get("reason", row.get("error"))) for row in rows)
    return {str(name): str(reason) for name, reason in reasons if name is not None and reason is not None}


def write_faces(folder: str, faces: dict[str, str], name: str = ERRORS_FILE) -> None:
    """Replaces a list of a split, whole or not at all. Without faces it is deleted."""
    filesystem, path = _file_in(folder, name)
    if not faces:
        if filesystem.get_file_info(path).is_file:
            delete(filesystem, path)
        return
    text = text_of({"image_id": image_id, "reason": faces[image_id]} for image_id in sorted(faces))
    write_whole(filesystem, path, lambda file: file.write(text.encode()))


def _file_in(folder: str, name: str) -> tuple[pafs.FileSystem, str]:
    filesystem, inner = locate(folder)
    return filesystem, child_of(inner, name)
