"""Files with a line of JSON for each thing that happened: how they are appended to, and read back after a kill."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from fervit.errors import UserError

Row = dict[str, Any]
"""A line of such a file."""
Damaged = Literal["refuse", "stop", "skip"]


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


def text_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """The text of a file with these rows."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def rows_of(content: bytes, path: str | Path, damaged: Damaged = "refuse") -> list[Row]:
    """The rows of a file's content, without a last line that was cut off.

    Args:
        content: the bytes of the file.
        path: its name, for errors.
        damaged: what happens at a whole line that is no JSON object: "refuse" raises, "stop" ends before it, "skip"
            leaves it out.

    Raises:
        UserError: a line is damaged, unless `damaged` says otherwise.
    """
    rows: list[Row] = []
    for i, line in enumerate(content.split(b"\n")[:-1]):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif damaged == "refuse":
            raise UserError(f"{path}: line {i + 1} is damaged; remove that line, and what it tells is lost")
        elif damaged == "stop":
            break
    return rows


def read_rows(path: Path, damaged: Damaged = "refuse") -> list[Row]:
    """The rows of a file, as `rows_of` gives them; none if there is no such file.

    Raises:
        UserError: a line is damaged, unless `damaged` says otherwise.
    """
    return rows_of(path.read_bytes(), path, damaged) if path.is_file() else []


def read_new_rows(path: Path, offset: int) -> tuple[list[Row], int]:
    """The whole rows of a file after a byte `offset`, and the offset behind the last of them.

    Raises:
        UserError: one of them is damaged.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except FileNotFoundError:
        return [], offset
    whole = content[: content.rfind(b"\n") + 1]
    return rows_of(whole, path), offset + len(whole)
