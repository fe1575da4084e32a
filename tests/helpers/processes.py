"""Commands as processes of their own: what they print is never lost, and what is waited for is a state, not a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

PATIENCE = 600.0
"""Seconds after which what has not happened counts as never happening: far more than a loaded machine takes."""


class Running:
    """A command that runs, and all that it has printed so far (both streams), which a thread reads.

    Args:
        words: the program and its arguments.
        options: `subprocess.Popen`'s, but for its streams.
    """

    def __init__(self, words: Sequence[object], **options: Any) -> None:
        self.lines: list[str] = []
        self._told = threading.Condition()
        self._process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            **options,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._told:
                self.lines.append(line)
                self._told.notify_all()
        with self._told:
            self._told.notify_all()

    @property
    def printed(self) -> str:
        return "".join(self.lines)

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def says(self, beginning: str, patience: float = PATIENCE) -> bool:
        """Waits for a line that begins so, among those already printed, too; False if the command ended without."""
        until, seen = time.monotonic() + patience, 0
        with self._told:
            while True:
                over = not self._reader.is_alive()  # asked first: a line that came before the end is seen below
                new, seen = self.lines[seen:], len(self.lines)
                if any(line.startswith(beginning) for line in new):
                    return True
                if over:
                    return False
                assert time.monotonic() < until, f"no line {beginning!r} within {patience} s:\n{self.printed[-3000:]}"
                self._told.wait(1.0)

    def reaches(self, happened: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Waits until something has happened; False if the command ended first."""
        until = time.monotonic() + patience
        while not happened():
            if self.returncode is not None:
                return happened()
            assert time.monotonic() < until, f"it did not happen within {patience} s:\n{self.printed[-3000:]}"
            time.sleep(0.02)
        return True

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self._process.kill()

    def ended(self, patience: float = PATIENCE) -> str:
        """Waits for its end; all that it printed."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {patience} s:\n{self.printed[-3000:]}") from None
        self._reader.join(30)  # longer only where a process that it left behind holds the pipe
        return self.printed


def alone(**more: str) -> dict[str, str]:
    """This process's environment for a command that starts a Ray of its own."""
    return {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | more


def launch(name: str, *args: object, **options: Any) -> Running:
    """A script of launch/ as a process of its own, with a Ray of its own."""
    return Running([sys.executable, ROOT / "launch" / f"{name}.py", *args], **{"env": alone(), **options})


def wait_until(happened: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Whether something happened within the time."""
    until = time.monotonic() + patience
    while not happened():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


DRIVER, NODE, ACTOR, TRIAL = "driver", "raylet/raylet", "EncoderActor", "ray::LatentTrial"
"""Whom `kill` kills: the command, its Ray's raylet, an encoder, a trial."""


def kill(victim: str, driver: Running) -> bool:
    """kill -9 of the driver, or of the process below it that `victim` names; whether there was one at this moment."""
    if victim == DRIVER:
        running = driver.returncode is None
        driver.kill()
        return running
    return send(victim, signal.SIGKILL, driver)


def send(victim: str, number: int, driver: Running) -> bool:
    """A signal to the process below a command that `victim` names; whether there is one."""
    for pid in descendants(driver.pid):
        if victim in command_line(pid).partition(" --")[0]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            return True
    return False


def command_line(pid: int) -> str:
    """A process's words; "" if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """The processes below one; Ray's raylet is a child of the driver, its workers are children of the raylet."""
    found, above = [], {pid}
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    while above:
        above = {child for child, parent in parents.items() if parent in above}
        found += sorted(above)
    return found


def ancestors(pid: int) -> list[int]:
    """The parents of a process, nearest first."""
    line = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        line.append(pid)
    return line
