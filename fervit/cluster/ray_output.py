"""Sends what Ray writes (its C++ code, its Python loggers, its messages to drivers) to a file."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def descriptor_to(path: Path) -> Iterator[TextIO]:
    """Makes file descriptor 2, to which Ray's C++ writes, the file `path`, and yields that file.

    `sys.stderr` goes on writing to where descriptor 2 led before: our own messages and progress still reach the user.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    python_stderr, terminal = sys.stderr, os.dup(2)
    file = path.open("a", encoding="utf-8", buffering=1)
    with _closed_whatever_happens(file), os.fdopen(os.dup(2), "w", buffering=1) as to_terminal:
        os.dup2(file.fileno(), 2)
        if _fileno(python_stderr) == 2:  # not in a notebook, where Python's stderr leads elsewhere
            sys.stderr = to_terminal
        try:
            yield file
        finally:
            to_terminal.flush()
            sys.stderr = python_stderr
            os.dup2(terminal, 2)
            os.close(terminal)


@contextmanager
def _closed_whatever_happens(file: TextIO) -> Iterator[None]:
    """A log that cannot be written (the disk is full) must not hide what happened."""
    try:
        yield
    finally:
        with suppress(OSError):
            file.close()


@contextmanager
def loggers_to(file: TextIO) -> Iterator[None]:
    """Ray's Python loggers write to `file` and nowhere else. Ray sets some of them up when a library is imported."""
    import ray.data  # noqa: F401  (its import adds a handler that writes to the terminal)

    handler = logging.StreamHandler(file)
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # as when the disk is full
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger("ray"), logging.getLogger("ray.data")]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate


@contextmanager
def messages_to(file: TextIO) -> Iterator[None]:
    """What the cluster tells its drivers (a worker died, a node is gone) is written to `file`, not printed.

    The death of this machine's own node ends the driver at once, so that is told in a line.
    """
    from ray._private import worker

    told = False

    def write(data: dict[str, Any], ignore_prefix: bool) -> None:
        nonlocal told
        text = "\n".join(data["lines"])
        with suppress(OSError):
            file.write(f"{text}\n")
        if "Raylet is terminated" in text and not told:
            told = True
            print(  # noqa: T201
                f"error: Ray's node on this machine was killed or ran out of memory (see {file.name}); start the same "
                "command again",
                file=sys.stderr,
            )

    before = worker.print_to_stdstream
    worker.print_to_stdstream = write
    try:
        yield
    finally:
        worker.print_to_stdstream = before


def _fileno(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
