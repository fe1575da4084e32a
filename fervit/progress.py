"""Shows progress in one line with the rate and the time left, and formats durations."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

Say = Callable[[str], None]
"""A function that shows a text of one or more lines, such as `print`."""
LINES_S = 10.0
"""The seconds between two lines of progress where lines are appended."""
IN_PLACE_S = 0.5
"""The seconds between two states of the line of progress that a notebook updates in place."""
LOG_S = 60.0
"""The seconds between two lines of progress where standard error is a file, such as the log of a job."""
NCOLS = 100
"""The width of a line of progress, in characters, where there is no terminal."""


def silent(text: str) -> None:
    """Discards a line of text.

    Args:
        text: the line.
    """


class Progress:
    """Counts and shows how many items of a job are done and how many failed.

    With `say=print`, the progress is a bar on a terminal, a line that is updated in place in a notebook, or a line a
    minute if standard error is a file. Another function gets a line every few seconds.

    Args:
        total: the number of items.
        unit: the name of the items, in the plural.
        label: the name of the job.
        say: gets the lines, as described above; None for silence.
    """

    def __init__(self, total: int, unit: str, label: str, say: Say | None = print) -> None:
        self.done = self.failed = 0
        settings: dict[str, Any] = {"dynamic_ncols": True, "disable": None if say is print else True}
        if say is print and in_notebook():
            settings = _settings(_in_place(), IN_PLACE_S)
        elif say is print and not sys.stderr.isatty():
            settings = _settings(_to_standard_error, LOG_S)
        elif say is not None and say is not print:
            settings = _settings(say, LINES_S)
        self._bar = tqdm(total=total, unit=f" {unit}", desc=label, smoothing=0.1, **settings)

    def add(self, done: int, failed: int = 0) -> None:
        """Adds to the counts.

        Args:
            done: the number of items that were done since the last call.
            failed: the number of items that failed since the last call.
        """
        self.done += done
        self.failed += failed
        if self.failed:
            self._shows(lambda: self._bar.set_postfix(failed=self.failed, refresh=False))
        self._shows(lambda: self._bar.update(done + failed))

    def close(self) -> None:
        """Shows the final counts and closes the display."""
        self._shows(self._bar.close)

    def _shows(self, show: Callable[[], object]) -> None:
        """Shows a state. What shows it may fail, such as a terminal that was closed, and then shows nothing more."""
        try:
            show()
        except Exception:
            self._bar.disable = True


def in_notebook() -> bool:
    """Finds out whether the process belongs to a notebook.

    Returns:
        Whether this process is the kernel of a Jupyter notebook.
    """
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class _Lines:
    """A file to which tqdm writes the states of its line, with carriage returns between them.

    Args:
        show: gets each state as a line.
    """

    def __init__(self, show: Say) -> None:
        self._show, self._last = show, ""

    def write(self, text: str) -> int:
        line = text.strip()
        if line and line != self._last:
            self._last = line
            self._show(line)
        return len(text)

    def flush(self) -> None: ...


def _settings(show: Say, every_s: float) -> dict[str, Any]:
    """Returns settings with which tqdm shows its line every `every_s` seconds, and not at all for a shorter job."""
    return {
        **{"file": _Lines(show), "ncols": NCOLS, "ascii": True},
        **{"mininterval": every_s, "maxinterval": every_s, "delay": every_s},
    }


def _to_standard_error(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _in_place() -> Say:
    """Returns a function that shows a line below the notebook's cell, in place of the previous line."""
    from IPython import display

    handles: list[Any] = []

    def show(line: str) -> None:
        data = {"text/plain": line}
        if handles:
            handles[0].update(data, raw=True)
        else:
            handles.append(display.display(data, raw=True, display_id=True))  # type: ignore[no-untyped-call]

    return show


def counted(n: int, what: str) -> str:
    """Writes a number of things, such as "1 picture" or "1,200 pictures".

    Args:
        n: the number.
        what: the word for one of them, whose plural has an s.
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def clock(seconds: float) -> str:
    """Formats a duration.

    Args:
        seconds: the duration.

    Returns:
        The duration in minutes and seconds, such as "1:15" for 75, with hours if needed, such as "1:01:40" for 3700.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
