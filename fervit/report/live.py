"""Keeps the report of a running sweep up to date."""

from __future__ import annotations

import os
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
    """Writes report.html again and again while the block runs, each time in a process of its own.

    Errors of these processes are ignored, since the report must never disturb the sweep.

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
    while not done.wait(pause):
        now = _size(changes)
        if now == size:
            continue
        size, started = now, time.monotonic()
        with suppress(OSError, subprocess.SubprocessError):  # such as no memory for a process
            write(folder, done)
        pause = max(pause_s, SHARE * (time.monotonic() - started))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def write(folder: Path, done: threading.Event) -> None:
    """Writes the report of a sweep in a process of its own, which is ended when `done` is set."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fervit.report", str(folder)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=environment) as process:
        while process.poll() is None:
            if done.wait(0.2):
                process.terminate()
