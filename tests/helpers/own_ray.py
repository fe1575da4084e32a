"""A Ray that lives through many commands, whose processes are known, measured and killed one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fervit.slurm.node import HOOK
from tests.helpers.processes import alone, command_line, wait_until

MARK = "FERVIT_TEST_RAY"
"""The variable in the environment of each process of such a Ray, also of those that lost their parent."""
KINDS = {
    "GCS": "gcs_server",
    "raylet": "raylet/raylet",
    "dashboard": "dashboard/dashboard.py",
    "dashboard agent": "ray::DashboardAgent",
    "runtime environment agent": "ray::RuntimeEnvAgent",
    "log monitor": "log_monitor.py",
    "trial": "ray::LatentTrial",
    "encoder": "ray::MapWorker",
}
"""What the command line of each kind of process holds."""
OURS = ("GCS", "raylet", "dashboard", "dashboard agent", "runtime environment agent", "log monitor")
"""The kinds that live as long as their Ray."""


class OwnRay:
    """A Ray of its own on this machine, which can be started again.

    Args:
        folder: gets the folders of its sessions. It has a short name, since sockets lie there.
        mark: what `MARK` is in the environment of its processes.
        environment: the environment of Ray and of the commands; None for that of this process.
    """

    def __init__(self, folder: Path, mark: str, environment: Mapping[str, str] | None = None) -> None:
        self._folder, self._mark = folder, mark
        self._environment = alone() if environment is None else dict(environment)
        self.starts = 0
        self.address = ""

    def start(self, **resources: float) -> None:
        """Starts Ray, again if it does not come up on a busy machine.

        Args:
            resources: what Ray counts here, such as `gpus=1`; two CPUs and no GPU if nothing is said.
        """
        for _ in range(5):
            self.starts += 1
            role = ["--head", "--port=0", "--dashboard-port=0", "--include-dashboard=true"]
            if self._ray_start(self._session, role, resources, {}):
                self.address = (self._session / "ray_current_cluster").read_text().strip()
                return
            self.end()
        raise AssertionError(f"Ray does not start: {(self._session / 'start.log').read_text()[-2000:]}")

    def join(self, address: str, environment: Mapping[str, str], **resources: float) -> None:
        """Starts a second node on this machine, with an address of its own and more variables in its environment."""
        role = [f"--address={self.address}", f"--node-ip-address={address}"]
        session = self._folder / "joined"
        assert self._ray_start(session, role, resources, environment), (session / "start.log").read_text()[-2000:]

    @property
    def _session(self) -> Path:
        return self._folder / str(self.starts)

    def _ray_start(
        self, session: Path, role: list[str], resources: Mapping[str, float], environment: Mapping[str, str]
    ) -> bool:
        session.mkdir()
        counted = {"cpus": 2.0, "gpus": 0.0, **resources}
        words = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--temp-dir={session}", *role]
        words += [f"--num-{name}={number:g}" for name, number in counted.items()]
        words += [f"--{kind}-port=0" for kind in ("object-manager", "node-manager", "min-worker", "max-worker")]
        words += ["--object-store-memory=200000000", "--dashboard-agent-listen-port=0", "--disable-usage-stats"]
        hooked = {**self.environment(), **environment, HOOK: "fervit.slurm.node.without_client_server"}
        hooked.pop("RAY_ADDRESS", None)
        with (session / "start.log").open("w") as log:
            done = subprocess.run(words, env=hooked, stdout=log, stderr=log, check=False, timeout=300)
        return done.returncode == 0

    def environment(self) -> dict[str, str]:
        """Returns the environment of Ray and of the commands that use it."""
        more = {"RAY_ADDRESS": self.address} if self.address else {}
        return {
            **self._environment,
            **more,
            **{MARK: self._mark, "RAY_TMPDIR": str(self._folder), "OMP_NUM_THREADS": "1"},
        }

    def end(self) -> None:
        """Kills all processes of this Ray and of the commands, also those that have no parent any more."""

        def ended() -> bool:
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not self.processes()

        assert wait_until(ended, 60), [command_line(pid) for pid in self.processes()]
        self.address = ""

    def processes(self) -> list[int]:
        """Returns the processes that carry the mark, or print into a log of this Ray, with all that these started.

        Those that have given themselves a title, such as trials and agents, have written it over their environment.
        """
        needle, found, parents = f"{MARK}={self._mark}".encode(), set[int](), dict[int, int]()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                if state == "Z":
                    continue
                parents[int(folder.name)] = int(parent)
                marked = needle in (folder / "environ").read_bytes().split(b"\0")
                if marked or str(self._folder) in (folder / "fd" / "1").readlink().as_posix():
                    found.add(int(folder.name))
        while children := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= children
        return sorted(found)

    def of_kind(self, kind: str) -> list[int]:
        """Returns the processes of a kind."""
        return [pid for pid in self.processes() if KINDS[kind] in command_line(pid).partition(" --")[0]]

    def memory_mb(self) -> dict[str, float]:
        """Returns the resident megabytes of the processes that live as long as this Ray."""
        return {kind: sum(resident_mb(pid) for pid in self.of_kind(kind)) for kind in OURS}

    def workers_left(self, patience: float = 120.0) -> list[str]:
        """Waits until no command, trial or encoder is left, and returns those that are."""

        def left() -> list[str]:
            lines = [command_line(pid) for kind in ("trial", "encoder") for pid in self.of_kind(kind)]
            return [line for line in lines if line]

        wait_until(lambda: not left(), patience)
        return left()


def resident_mb(pid: int) -> float:
    """Returns the megabytes of a process, with its part of what it shares with others; 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def shared_memory() -> set[str]:
    """Returns the names in /dev/shm, but for those of other tests."""
    return {path.name for path in Path("/dev/shm").iterdir() if not path.name.startswith(("fervit", "tmp"))}
