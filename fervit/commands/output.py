"""What commands print: words or, with `--format json`, one JSON value on standard output and nothing else."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fervit.cli import Parser
from fervit.system.program import NAME
from fervit.system.streams import steady


def add_format(flags: Parser, *forms: str, of: str) -> None:
    """Adds `--format`, whose values are those given and `json`.

    Args:
        flags: the parser.
        forms: the other values, the default first; none for "text".
        of: the name under which `fervit schema` has the JSON Schema.
    """
    flags.add_argument(
        "--format",
        choices=(*(forms or ("text",)), "json"),
        default=(forms or ("text",))[0],
        help=f"of what is printed. json: one JSON value on standard output, as `{NAME} schema {of}` describes it; all "
        "else goes to standard error",
    )


@contextmanager
def printing(form: str) -> Iterator[Callable[[object], None]]:
    """Prints one result as JSON when the block ends without an error, if the user wants JSON.

    Until then, whatever is written to standard output, also by other processes that are started, goes to standard
    error.

    Args:
        form: the value of `--format`.

    Yields:
        A function that gets the result: a dataclass or a list of them. It does nothing if the user wants words.
    """
    if form != "json":
        yield lambda result: None
        return
    results: list[object] = []
    with _standard_error_instead():
        yield results.append
    for result in results:
        print(json.dumps(plain(result), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Returns a value as JSON has it: dataclasses as objects, paths as text, numbers that are not finite as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value


@contextmanager
def _standard_error_instead() -> Iterator[None]:
    """Lets `sys.stdout` and file descriptor 1 lead to where standard error leads now, while the block runs."""
    before = sys.stdout
    before.flush()
    output, words = os.dup(1), os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    try:
        os.dup2(2, 1)
        sys.stdout = steady(words)
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = before
        os.dup2(output, 1)
        os.close(output)
