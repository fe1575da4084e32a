"""Standard output and error that cannot stop a command: a closed one, a reader that has gone, or a narrow encoding."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class Steady:
    """A text stream whose errors are swallowed: from the first one on, its texts go nowhere.

    The reader of a pipe may end and a terminal may be closed hours before the work is done. On a terminal, lines of
    words that are wider than it are broken between words.

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
            self._stream.write(wrapped(text, shutil.get_terminal_size().columns) if self._stream.isatty() else text)
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


def wrapped(text: str, width: int) -> str:
    """Breaks the lines of a text that are too wide between words, and indents what follows by two columns more.

    A command stays whole, so that it can be copied, where it is a line of its own after a word or two, and between
    backticks. So does what moves the cursor or has colours.

    Args:
        text: some lines.
        width: the columns of the terminal.
    """
    if len(text) <= width or "\x1b" in text or "\r" in text:
        return text
    return "\n".join(_broken(line, width) for line in text.split("\n"))


def _broken(line: str, width: int) -> str:
    if len(line) <= width or COPIED.match(line):
        return line
    indent = " " * (len(line) - len(line.lstrip()))
    joined = re.sub(r"`[^`]*`", lambda command: command[0].replace(" ", "\0"), line.rstrip())
    lines = textwrap.wrap(
        joined, width, subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace("\0", " ")


PROGRAMS = "python|fervit|tensorboard|optuna-dashboard|ray|sbatch|scancel|tail|eval"
COPIED = re.compile(rf"\W*(\w+[ :]+){{0,3}}({PROGRAMS}) [^ \d]")
"""A line that is copied as a whole: at most three words, and a command."""


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
