"""Progress: one line with rate and time left, silent where there is no terminal; and times as people write them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

Say = Callable[[str], None]
"""Is given a line of text, or several, as `print` is."""
LINES_S = 10.0
"""Between two lines of progress where each stays."""
IN_PLACE_S = 0.5
"""Between two states of a line of progress that a notebook shows in place."""
NCOLS = 100


def silent(text: str) -> None:
    """Takes a line of text and shows it to nobody.

    Args:
        text: the line.
    """


class Progress:
    """Counts what is done and what failed.

    A bar on a terminal; in a notebook a line that changes in place, which needs no widgets; a line now and then where
    the caller takes the lines himself; nothing where standard error is a file.

    Args:
        total: how many there are.
        unit: what is counted, in the plural.
        label: what is being done.
        say: `print` for what fits where the process runs, another function for lines, None for silence.
    """

    def __init__(self, total: int, unit: str, label: str, say: Say | None = print) -> None:
        self.done = self.failed = 0
        settings: dict[str, Any] = {"dynamic_ncols": True, "disable": None if say is print else True}
        if say is print and in_notebook():
            settings = _settings(_in_place(), IN_PLACE_S)
        elif say is not None and say is not print:
            settings = _settings(say, LINES_S)
        self._bar = tqdm(total=total, unit=f" {unit}", desc=label, smoothing=0.1, **settings)

    def add(self, done: int, failed: int = 0) -> None:
        """Counts some more.

        Args:
            done: how many are done since the last call.
            failed: how many failed since then.
        """
        self.done += done
        self.failed += failed
        self._bar.set_postfix(failed=self.failed, refresh=False)
        self._bar.update(done + failed)

    def close(self) -> None:
        """Shows the end, and stops showing."""
        self._bar.close()


def in_notebook() -> bool:
    """Tells where the process runs.

    Returns:
        Whether this process is the kernel of a Jupyter notebook.
    """
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class _Lines:
    """A file for tqdm, which writes states of one line with carriage returns between them.

    Args:
        show: is given each state.
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
    """For tqdm, to show a state of its line every so many seconds, and none of a job that is over sooner."""
    return {
        **{"file": _Lines(show), "ncols": NCOLS, "ascii": True},
        **{"mininterval": every_s, "maxinterval": every_s, "delay": every_s},
    }


def _in_place() -> Say:
    """Shows a line below the cell, in place of the one before."""
    from IPython import display

    handles: list[Any] = []

    def show(line: str) -> None:
        data = {"text/plain": line}
        if handles:
            handles[0].update(data, raw=True)
        else:
            handles.append(display.display(data, raw=True, display_id=True))  # type: ignore[no-untyped-call]

    return show


def clock(seconds: float) -> str:
    """Writes a duration as people do.

    Args:
        seconds: the duration.

    Returns:
        75 -> "1:15"; 3700 -> "1:01:40".
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
