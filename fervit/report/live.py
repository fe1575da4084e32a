"""Keeps the report of a running sweep up to date."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fervit.search.records.sweep_folder import SweepFolder

PAUSE_S = 60.0
"""The shortest pause between two reports in seconds."""
SHARE = 20
"""The pause also lasts at least this many times as long as the last report took, so that reports cost little."""


@contextmanager
def live_report(folder: Path, pause_s: float = PAUSE_S) -> Iterator[None]:
    """Writes report.html again and again while the block runs, in a process of its own.

    Errors of this process are ignored, since the report must never disturb the sweep.

    Args:
        folder: the folder of the sweep.
        pause_s: the shortest pause between two reports in seconds.
    """
    done = threading.Event()
    thread = threading.Thread(target=_keep_writing, args=(folder, pause_s, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _keep_writing(folder: Path, pause_s: float, done: threading.Event) -> None:
    changes, size, pause = SweepFolder(folder).journal, 0, pause_s
    writer = Writer(folder)
    try:
        while not done.wait(pause):
            now = _size(changes)
            if now == size:
                continue
            size, started = now, time.monotonic()
            with suppress(OSError, subprocess.SubprocessError):  # such as no memory for a process
                writer.write(done)
            pause = max(pause_s, SHARE * (time.monotonic() - started))
    finally:
        writer.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Writer:
    """A process that writes the report of a sweep when it is asked to, and remembers what it has read for it.

    Args:
        folder: the folder of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, done: threading.Event) -> None:
        """Writes the report once, unless `done` is set before. Another process begins if the last one has failed."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            command, pipe = [sys.executable, "-m", "fervit.report", str(self._folder)], subprocess.PIPE
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):  # it has just ended
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        while not select.select([self._process.stdout], [], [], 0.2)[0]:
            if done.is_set():
                self.close()
                return
        if not self._process.stdout.readline():  # it has failed
            self.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process is None:
            return
        with self._process as process:
            process.terminate()
        self._process = None
