"""Runs commands as processes, keeps all their output, and waits for states, not for times."""

from __future__ import annotations

import json
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
"""The seconds after which a state counts as never reached, far more than a loaded machine needs."""


COUNTED_GPU = {
    "RAY_OVERRIDE_RESOURCES": json.dumps({"GPU": 1}),
    "CUDA_VISIBLE_DEVICES": "0",  # of which Ray hands out the first
    "FERVIT_DEVICE": "cpu",
}
"""The environment in which Ray counts a GPU that does not exist, while the arithmetic runs on the CPU."""
MISSING_GPU = {"RAY_OVERRIDE_RESOURCES": json.dumps({"GPU": 1}), "CUDA_VISIBLE_DEVICES": "63"}
"""The environment in which Ray counts a GPU that torch cannot find, even on a machine that has GPUs."""


class Running:
    """A running command, and its output so far on both streams, which a thread reads.

    Args:
        words: the program and its arguments.
        options: further options of `subprocess.Popen`, except for the streams.
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
        """The exit status; None while the command runs."""
        return self._process.poll()

    def says(self, beginning: str, patience: float = PATIENCE) -> bool:
        """Waits for a line that begins with a text, even if it is already printed; returns False if none came."""
        until, seen = time.monotonic() + patience, 0
        with self._told:
            while True:
                over = not self._reader.is_alive()  # checked first, so that the last lines are searched below
                new, seen = self.lines[seen:], len(self.lines)
                if any(line.startswith(beginning) for line in new):
                    return True
                if over:
                    return False
                assert time.monotonic() < until, f"no line {beginning!r} within {patience} s:\n{self.printed[-3000:]}"
                self._told.wait(1.0)

    def reaches(self, happened: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Waits until a condition holds, and returns False if the command ended first."""
        until = time.monotonic() + patience
        while not happened():
            if self.returncode is not None:
                return happened()
            assert time.monotonic() < until, f"it did not happen within {patience} s:\n{self.printed[-3000:]}"
            time.sleep(0.02)
        return True

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Sends the signal of Ctrl-C, or another one that means the same."""
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()

    def ended(self, patience: float = PATIENCE) -> str:
        """Waits until the command has ended, and returns its output."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {patience} s:\n{self.printed[-3000:]}") from None
        self._reader.join(30)  # longer only where a process that it left behind holds the pipe
        return self.printed


def alone(**more: str) -> dict[str, str]:
    """Returns the environment of this process for a command that starts a Ray of its own."""
    return {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | more


def launch(name: str, *args: object, **options: Any) -> Running:
    """Starts a script of launch/ as a process, with a Ray of its own."""
    return Running([sys.executable, ROOT / "launch" / f"{name}.py", *args], **{"env": alone(), **options})


def wait_until(happened: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Waits until a condition holds, and returns whether it did in time."""
    until = time.monotonic() + patience
    while not happened():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


DRIVER, NODE, ACTOR, TRIAL = "driver", "raylet/raylet", "EncoderActor", "ray::LatentTrial"
"""The processes that `kill` can kill: the command, the raylet of its Ray, an encoder, or a trial."""


def kill(victim: str, driver: Running) -> bool:
    """Kills the driver or its descendant that `victim` names, and returns whether there was such a process."""
    if victim == DRIVER:
        running = driver.returncode is None
        driver.kill()
        return running
    return send(victim, signal.SIGKILL, driver)


def send(victim: str, number: int, driver: Running) -> bool:
    """Sends a signal to the descendant of a command that `victim` names, and returns whether there is one."""
    for pid in descendants(driver.pid):
        if victim in command_line(pid).partition(" --")[0]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            return True
    return False


def command_line(pid: int) -> str:
    """Returns the command line of a process; "" if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """Returns the descendants of a process. The raylet is a child of the driver and the parent of the workers."""
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
    """Returns the ancestors of a process, nearest first."""
    line = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        line.append(pid)
    return line
