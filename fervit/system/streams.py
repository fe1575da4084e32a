"""Standard output and error that cannot stop a command: a closed one, a reader that has gone, or a narrow encoding."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class Steady:
    """A text stream whose errors are swallowed: from the first one on, its texts go nowhere.

    The reader of a pipe may end and a terminal may be closed hours before the work is done.

    Args:
        stream: the stream, whose other attributes this one has as well.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.broken = False
        """Whether a text could not be written."""

    def write(self, text: str) -> int:
        """Writes a text, or drops it if the stream is broken; returns its length."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            self._give_up()
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Writes several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flushes the stream, unless it is broken."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self) -> None:
        """Lets the descriptor lead nowhere, so that what is still in its buffer does no harm at the end, either."""
        self.broken = True
        with suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


def steady(stream: TextIO) -> TextIO:
    """Returns a stream that swallows its own errors, and whose lines appear at once."""
    if isinstance(stream, Steady):
        return stream
    if isinstance(stream, io.TextIOWrapper):
        with suppress(OSError, ValueError, io.UnsupportedOperation):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    return cast(TextIO, Steady(stream))


def open_missing_descriptors() -> None:
    """Opens the null device in place of the descriptors 0, 1 and 2 that are closed, as for a daemon.

    Otherwise the next file that is opened, such as a model, would become standard error, and get its texts.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))


@contextmanager
def steady_output() -> Iterator[None]:
    """Makes standard output and error steady while the block runs."""
    open_missing_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (steady(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
