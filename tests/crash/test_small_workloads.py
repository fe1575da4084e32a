"""Every workload of at most three operations on files, and every state that a power cut can leave after each step.

The operations are those of which all that fervit writes is made. The common start is a folder with one of each kind of
file, all of it on the disk. After a power cut, each file is as it was after some operation: none before the last one
that had ended and whose effect is to last, and at the latest the one that had begun.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fervit.io.disk import remove, remove_tree
from fervit.io.files import whole_file, write_text
from fervit.io.json_lines import JsonLines, drop_torn_line, read_rows
from tests.crash.explore import Found, explore, scratch
from tests.crash.recorder import Recording, recorded

START: dict[str, bytes | None] = {"value": b"0", "rows": b'{"n": 0}\n', "models": None, "models/a": b"a"}
Operation = Callable[[Path, int], str]
"""What is done to a folder as the n-th operation. Returns the file whose content is to last from then on, if any."""


def replaces(folder: Path, n: int) -> str:
    write_text(folder / "value", str(n))
    return "value"


def appends(folder: Path, n: int) -> str:
    rows = JsonLines(folder / "rows")
    rows.append({"n": n})
    rows.sync()
    rows.close()
    return "rows"


def adds(folder: Path, n: int) -> str:
    """Writes a file into a folder that may not be there yet."""
    write_text(folder / "models" / "new" / str(n), str(n))
    return f"models/new/{n}"


def replaces_in_part(folder: Path, n: int) -> str:
    """Replaces one of many files, whose folder is not synced yet."""
    with whole_file(folder / "models" / "a", one_of_many=True) as aside:
        aside.write_text(str(n))
    return ""


def takes_away(folder: Path, n: int) -> str:
    """Removes what nobody reads any more. It may come back."""
    remove(folder / "value")
    remove_tree(folder / "models")
    return ""


OPERATIONS: list[Operation] = [replaces, appends, adds, replaces_in_part, takes_away]
WORKLOADS = [w for length in (1, 2, 3) for w in itertools.product(OPERATIONS, repeat=length)]
Content = dict[str, object]


def content(folder: Path) -> Content:
    """Returns what the program reads: the rows, and the texts of files."""
    drop_torn_line(folder / "rows")
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    found: Content = {path.relative_to(folder).as_posix(): path.read_text() for path in files}
    found["rows"] = tuple(row["n"] for row in read_rows(folder / "rows"))
    return found


def explored(workload: Sequence[Operation]) -> Found:
    """Lets the power be cut after each step of a workload."""
    folder = scratch()
    recording = Recording.of_state(folder, START)
    start = len(recording.steps)
    for path, text in START.items():
        (folder / path).mkdir() if text is None else (folder / path).write_bytes(text)
    ends = [content(folder)]
    lasts: dict[str, list[int]] = {}
    with recorded(folder, recording):
        recording.promise(0)
        for n, operation in enumerate(workload, start=1):
            lasts.setdefault(operation(folder, n), []).append(n)
            recording.promise(n)
            ends.append(content(folder))

    def wrong(state: Path, promised: Sequence[int]) -> str:
        if not promised:  # the start is not there yet
            return ""
        done, found = promised[-1], content(state)
        for path in {path for end in ends for path in end}:
            since = max((n for n in lasts.get(path, []) if n <= done), default=0)
            may_be = [end.get(path) for end in ends[since : done + 2]]
            if found.get(path) not in may_be:
                return f"{path} is {found.get(path)}, not one of {may_be}"
        return "" if set(found) <= {path for end in ends for path in end} else f"a file appeared: {found}"

    return explore(recording, wrong, lambda _: "", begin=start + 1, sample=64)


@pytest.mark.parametrize("first", OPERATIONS, ids=lambda operation: operation.__name__)
def test_each_file_is_as_it_was_after_an_operation(first: Operation, measured: Callable[[str], None]) -> None:
    found = [explored(workload) for workload in WORKLOADS if workload[0] is first]
    assert len(found) == 31
    states = sum(one.states for one in found)
    measured(f"{first.__name__} and at most two more operations: {states} states")
    assert states > 500
    assert [text for one in found for text in one.wrong] == []
