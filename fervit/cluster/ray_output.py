"""Sends the output of Ray (of its C++ code, its Python loggers, and its messages to drivers) to a file."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from fervit.system.streams import open_missing_descriptors, steady


@contextmanager
def descriptor_to(path: Path) -> Iterator[TextIO]:
    """Redirects file descriptor 2, to which Ray's C++ code writes, to a file while the block runs.

    `sys.stderr` still writes to the previous target of the descriptor, so that fervit's own messages reach the user.

    Yields:
        The file at `path`, opened for appending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    open_missing_descriptors()
    steady(sys.stderr).flush()
    python_stderr, terminal = sys.stderr, os.dup(2)
    file = path.open("a", encoding="utf-8", buffering=1)
    with _closed_whatever_happens(file), os.fdopen(os.dup(2), "w", buffering=1) as to_terminal:
        os.dup2(file.fileno(), 2)
        if _fileno(python_stderr) == 2:  # false in a notebook, where Python's stderr is no descriptor
            sys.stderr = steady(to_terminal)
        try:
            yield file
        finally:
            steady(to_terminal).flush()
            sys.stderr = python_stderr
            os.dup2(terminal, 2)
            os.close(terminal)


@contextmanager
def _closed_whatever_happens(file: TextIO) -> Iterator[None]:
    """Closes a log. If it cannot be written since the disk is full, that must not hide another exception."""
    try:
        yield
    finally:
        with suppress(OSError):
            file.close()


@contextmanager
def loggers_to(file: TextIO) -> Iterator[None]:
    """Makes Ray's Python loggers write to a file and nowhere else while the block runs."""
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
    """Writes messages of the cluster to its drivers (such as that a worker died) to a file rather than printing them.

    If Ray's node on this machine dies, the driver ends at once, so an error message of one line is printed.
    """
    from ray._private import worker

    reported = False

    def write(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        nonlocal reported
        text = "\n".join(data["lines"])
        with suppress(OSError):
            file.write(f"{text}\n")
        if "Raylet is terminated" in text and not reported:
            reported = True
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
    """The file descriptor of a stream; None if it has none."""
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
