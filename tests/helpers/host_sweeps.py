"""Sweeps on several hosts: their spaces, and their journals while they run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fervit.io.json_lines import read_rows
from fervit.search.records.sweep_folder import SweepFolder
from tests.helpers.hosts import Hosts, host_at, wait_until
from tests.helpers.processes import PATIENCE

SPACE = """
name: {name}
metric: {{name: f1_macro, goal: maximize}}
search: {{sampler: tpe, trials: {trials}, seed: 1}}
early_stopping: {{scheduler: {scheduler}, max_epochs: {epochs}, grace_epochs: 4, reduction_factor: 2}}
parameters:
  lr: {{distribution: log_uniform, min: 1.0e-4, max: 1.0e-2}}
  heads: {{values: [2, 4]}}
fixed: {{embed_dim: 128, depth: {depth}, mlp_dim: 128, batch_size: {batch_size}}}
trial: {{cpus: 1, max_failures: 3}}
confirm: {{top: 0}}
"""


def write_space(share: Path, name: str, **settings: object) -> None:
    """Writes share/<name>.yaml, a space whose trials last some seconds, so that processes on all hosts get trials."""
    defaults = {"trials": 12, "scheduler": "asha", "epochs": 12, "depth": 3, "batch_size": 4}
    (share / f"{name}.yaml").write_text(SPACE.format(name=name, **{**defaults, **settings}))


def epochs_told(share: Path, name: str) -> int:
    """Returns the number of epochs in the journal of a space's only sweep."""
    folder = folder_of(share, name)
    return len(epochs_of(folder)) if folder is not None and SweepFolder(folder).journal.is_file() else 0


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    """Returns the epoch events of a sweep's journal in order."""
    return [event for event in read_rows(SweepFolder(folder).journal) if event["event"] == "epoch"]


def folder_of(share: Path, name: str) -> Path | None:
    """Returns the folder of the only sweep of a space; None while there is none."""
    return next((share / "experiments").glob(f"{name}_*"), None)


class Standstill:
    """Pauses each process of a sweep's trials once it has reported an epoch, until all of them continue together.

    A test thus does not depend on which process starts first or how fast the processes are.

    Args:
        hosts: the hosts on which the sweep runs.
        name: the name of its space.
        on: the host of all processes, if the nodes have no addresses of their own.
    """

    def __init__(self, hosts: Hosts, name: str, on: int | None = None) -> None:
        self._hosts, self._name, self._on = hosts, name, on
        self.stopped: set[tuple[int, int]] = set()
        """The host and the process id of each paused process."""

    def reached(self, n: int, over: Callable[[], bool], saved: int = 0, patience: float = PATIENCE) -> bool:
        """Waits until n processes (on n hosts) are paused after an epoch, and returns False if the sweep has ended.

        Args:
            n: the number of processes or, without `on`, of hosts.
            over: returns whether the sweep has ended.
            saved: the saved epoch that a trial must have reported at least.
        """

        def enough() -> bool:
            self._stop(saved)
            return len(self.stopped if self._on is not None else {host for host, _ in self.stopped}) >= n

        until = time.monotonic() + patience
        while not wait_until(enough, 20):
            if over() or time.monotonic() > until:
                return False
        return True

    def release(self) -> None:
        for host, pid in sorted(self.stopped):
            self._hosts.run(host, ["kill", "-CONT", str(pid)])  # one of a host that is off has ended

    def _stop(self, saved: int) -> None:
        folder = folder_of(self._hosts.share, self._name)
        if folder is None or not SweepFolder(folder).journal.is_file():
            return
        for event in epochs_of(folder):
            host = host_at(event["node"]) if self._on is None else self._on
            if event["saved"] >= saved and (host, event["pid"]) not in self.stopped:
                self._hosts.run(host, ["kill", "-STOP", str(event["pid"])])
                self.stopped.add((host, event["pid"]))
