"""Files with a line of JSON for each thing that happened: how they are appended to, and read back after a kill."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fervit.errors import UserError

Row = dict[str, Any]
"""A line of such a file."""


class JsonLines:
    """Appends rows to a file; each is whole in the file when `append` returns, whatever kills the process then.

    Args:
        path: the file, which may exist; a last line that a kill cut off is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        drop_torn_line(path)
        self._file = path.open("ab", buffering=0)

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes one row.

        Raises:
            OSError: the file cannot be written, such as on a full disk.
        """
        line = memoryview(json.dumps(row).encode() + b"\n")
        while line:
            line = line[self._file.write(line) :]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def drop_torn_line(path: Path) -> None:
    """Removes a last line that a kill cut off."""
    if path.is_file():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, without a last line that was cut off; none if there is no such file.

    Raises:
        UserError: a line before the last is damaged.
    """
    return read_new_rows(path, 0)[0]


def read_new_rows(path: Path, offset: int) -> tuple[list[Row], int]:
    """The whole rows of a file after a byte `offset`, and the offset behind the last of them.

    Raises:
        UserError: one of them is damaged.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            whole, newline, _ = file.read().rpartition(b"\n")
    except FileNotFoundError:
        return [], offset
    rows = []
    for i, line in enumerate(whole.split(b"\n") if newline else ()):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {i + 1} is damaged; remove that line, and what it tells is lost")
        rows.append(row)
    return rows, offset + len(whole) + len(newline)
