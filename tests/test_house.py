"""What CONTRIBUTING.md promises of the code as a whole."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

MOST_FILES, MOST_LINES = 13, 60
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, Function, bool]]:
    """Yields each function of the package with its place, and whether it is public."""
    for path in sorted((ROOT / "fervit").rglob("*.py")):
        yield from _inside(ast.parse(path.read_text()), str(path.relative_to(ROOT)), public=True)


def _inside(node: ast.AST, where: str, *, public: bool) -> Iterator[tuple[str, Function, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield f"{where}:{child.lineno} {child.name}", child, public and not child.name.startswith("_")
            yield from _inside(child, where, public=False)
        elif isinstance(child, ast.ClassDef):
            yield from _inside(child, where, public=public and not child.name.startswith("_"))
        else:
            yield from _inside(child, where, public=public)


def lines_of(function: Function) -> int:
    """Counts the lines of a function without its docstring."""
    first = function.body[0]
    said = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) and first.end_lineno else 0
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1 - said


def test_no_room_is_crowded_and_no_function_long() -> None:
    rooms: Counter[Path] = Counter(path.parent.relative_to(ROOT) for path in (ROOT / "fervit").rglob("*.py"))
    assert {str(room): n for room, n in rooms.items() if n > MOST_FILES} == {}
    assert [where for where, function, _ in functions() if lines_of(function) > MOST_LINES] == []


def test_every_public_function_says_what_it_does() -> None:
    silent = [where for where, function, public in functions() if public and not ast.get_docstring(function)]
    assert [where for where in silent if "@overload" not in where] == []
