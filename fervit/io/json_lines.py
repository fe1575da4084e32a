"""Writes and reads files with one JSON object in each line. They can be read even if a kill cut off the last line."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from fervit.errors import UserError
from fervit.io.disk import AppendedFile, truncate

Row = dict[str, Any]
"""The JSON object in a line."""
BLOCK = 1 << 16
"""The bytes that are read at once to find the last line."""
Damaged = Literal["refuse", "stop", "skip"]
"""How a damaged line is handled; see `rows_of`."""


class JsonLines:
    """Appends rows to a file. When `append` returns, the row is in the file, even if the process is killed right after.

    A power cut may take rows away until `sync` is called.

    Args:
        path: the path of the file, which may exist. A last line that a kill cut off is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        drop_torn_line(path)
        self._file = AppendedFile(path)

    def append(self, row: Mapping[str, Any]) -> int:
        """Appends one row, and returns its length in bytes.

        Raises:
            OSError: the file cannot be written, such as on a full disk.
        """
        line = json.dumps(row).encode() + b"\n"
        self._file.append(line)
        return len(line)

    def sync(self) -> None:
        """Makes all rows outlive a power cut."""
        self._file.sync()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def drop_torn_line(path: Path) -> None:
    """Removes the last line of a file if a kill cut it off."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        end = place = file.seek(0, os.SEEK_END)
        whole = 0
        while place and not whole:  # in blocks from the end, since the file may be large
            block = min(BLOCK, place)
            place -= block
            file.seek(place)
            found = file.read(block).rfind(b"\n")
            whole = place + found + 1 if found >= 0 else 0
    if whole < end:
        truncate(path, whole)


def text_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns the content of a file with these rows."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def rows_of(content: bytes, path: str | Path, damaged: Damaged = "refuse") -> list[Row]:
    """Parses the content of a file, without a last line that was cut off.

    Args:
        content: the bytes of the file.
        path: the name of the file, for error messages.
        damaged: how a whole line that is no JSON object is handled: "refuse" raises an error, "stop" drops it and all
            lines after it, "skip" drops it.

    Raises:
        UserError: a line is damaged, and `damaged` is "refuse".
    """
    return list(_parsed(io.BytesIO(content), path, damaged))


def each_row(path: Path, damaged: Damaged = "refuse") -> Iterator[Row]:
    """Yields the rows of a file of any size, one at a time; see `rows_of`. A missing file has no rows.

    Raises:
        UserError: a line is damaged, and `damaged` is "refuse".
    """
    if path.is_file():
        with path.open("rb") as file:
            yield from _parsed(file, path, damaged)


def _parsed(lines: Iterable[bytes], path: str | Path, damaged: Damaged) -> Iterator[Row]:
    for i, line in enumerate(lines):
        if not line.endswith(b"\n"):
            return
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            yield row
        elif damaged == "refuse":
            raise UserError(f"{path}: line {i + 1} is damaged; remove that line, and what it tells is lost")
        elif damaged == "stop":
            return


def read_rows(path: Path, damaged: Damaged = "refuse") -> list[Row]:
    """Reads the rows of a file; see `rows_of`. A missing file has no rows.

    Raises:
        UserError: a line is damaged, and `damaged` is "refuse".
    """
    return rows_of(path.read_bytes(), path, damaged) if path.is_file() else []


def read_new_rows(path: Path, offset: int) -> tuple[list[Row], int]:
    """Reads the whole rows of a file after a byte offset.

    Args:
        path: the path of the file, which may be missing.
        offset: the offset of the first row to read.

    Returns:
        The rows, and the offset after the last of them.

    Raises:
        UserError: a line is damaged.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except FileNotFoundError:
        return [], offset
    whole = content[: content.rfind(b"\n") + 1]
    return rows_of(whole, path), offset + len(whole)
