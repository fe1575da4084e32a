"""NVIDIA's Multi-Process Service (MPS), by which trials that share a GPU compute on it at the same time.

Without it the processes take turns on the GPU, and a small model leaves most of it idle in its turn. A daemon on each
node connects them. It is NVIDIA's program, belongs to one sweep, and has pipes and logs of its own, so that it meets no
other daemon on the node. (NVIDIA, "Multi-Process Service")
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fervit.cluster.nodes import Node
from fervit.io.files import first_line, write_text
from fervit.progress import Say, silent

CONTROL = "nvidia-cuda-mps-control"
START_S = 60.0
"""The seconds within which the daemon must answer, on a machine that is busy with other things as well."""
END_S = 20.0
"""The seconds that the daemon has to end, before it is killed."""
_LIBC = ctypes.CDLL(None)  # loaded here, since little is allowed between fork and exec


def folder_of(sweep: Path) -> Path:
    """The folder of the daemon's pipes and logs, on the node's own disk, with a short name, since pipes need one."""
    name = hashlib.sha256(str(sweep).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"fervit_mps_{os.getuid()}_{name}"


def environment(folder: Path) -> dict[str, str]:
    """The variables by which the daemon and its clients find each other."""
    return {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}


def use_daemon(sweep: Path) -> None:
    """Makes this process a client of the sweep's daemon on this node, before it uses its GPU.

    CUDA works without the daemon where there is none, for example because the node has just joined.
    """
    folder = folder_of(sweep)
    deadline = time.monotonic() + START_S
    while not serves(folder) and not (folder / "failed").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    if serves(folder):
        os.environ.update(environment(folder))


def serves(folder: Path) -> bool:
    """Whether the daemon of a folder runs. What a daemon that was killed has left there does not count."""
    try:
        pid = int((folder / "ready").read_text())
        return CONTROL.encode()[:15] in Path(f"/proc/{pid}/comm").read_bytes()
    except (OSError, ValueError):
        return False


class Daemon:
    """An actor that runs the daemon of a sweep on its node. If the actor is killed, so is the daemon."""

    def __init__(self, sweep: str) -> None:
        self._folder = folder_of(Path(sweep))
        shutil.rmtree(self._folder, ignore_errors=True)
        for name in ("pipe", "log"):
            (self._folder / name).mkdir(mode=0o700, parents=True)
        # The daemon gets all GPUs of the node, so that their numbers mean the same to its clients.
        inherited = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        self._env = inherited | environment(self._folder)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Starts the daemon and waits for it. Returns why it could not be started; "" if it runs."""
        problem = self._start()
        if self._process is not None and not problem:
            write_text(self._folder / "ready", str(self._process.pid))
        else:
            write_text(self._folder / "failed", problem)
            self._kill()
        return problem

    def _start(self) -> str:
        try:
            with (self._folder / "log" / "started").open("wb") as log:
                self._process = subprocess.Popen(
                    [CONTROL, "-f"],
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_die_with_us,
                )
        except OSError as error:
            return f"{CONTROL} cannot be run ({error.strerror})"
        deadline = time.monotonic() + START_S
        while self._ask("get_server_list") != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self._folder / "log" / "started").read_text(errors="replace").splitlines()
                return f"{CONTROL} gives no answer ({said[0] if said else 'and says nothing'})"
            time.sleep(0.1)
        return ""

    def end(self) -> None:
        """Ends the daemon and removes its folder."""
        if self._process is not None:
            self._ask("quit -t 5")
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
        self._kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _ask(self, command: str) -> int:
        """Sends a command to the daemon and returns its exit status, which is 0 if the daemon has answered."""
        try:
            asked = subprocess.run([CONTROL], input=command.encode(), env=self._env, capture_output=True, timeout=END_S)
        except subprocess.TimeoutExpired:
            return 1
        return asked.returncode


def _die_with_us() -> None:
    """Lets the kernel end this process when the thread that has started it ends (prctl, PR_SET_PDEATHSIG)."""
    _LIBC.prctl(1, signal.SIGTERM)


class Daemons:
    """The daemons of a sweep: one on each node with GPUs. What fails there costs speed only, and is said.

    Args:
        sweep: the folder of the sweep.
        say: prints a line for the user.
    """

    def __init__(self, sweep: Path, say: Say | None = None) -> None:
        self._sweep, self._say = sweep, say or silent
        self._actors: dict[str, Any] = {}
        self._starting: dict[Any, str] = {}

    def ensure(self, nodes: tuple[Node, ...]) -> None:
        """Starts a daemon on each running node with GPUs that has none, and says which of them could not be started."""
        actor = ray.remote(Daemon)
        for node in nodes:
            if node.node_id and node.gpus and node.node_id not in self._actors:
                here = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
                daemon = actor.options(num_cpus=0, scheduling_strategy=here, name=None).remote(str(self._sweep))
                self._actors[node.node_id] = daemon
                self._starting[daemon.start.remote()] = node.address
        self._look()

    def _look(self) -> None:
        done = ray.wait(list(self._starting), num_returns=len(self._starting), timeout=0)[0] if self._starting else []
        for result in done:
            where = self._starting.pop(result)
            try:
                problem = ray.get(result)
            except ray.exceptions.RayError as error:
                problem = first_line(error)
            if problem:
                self._say(f"no MPS on node {where}: {problem}; its trials take turns on their GPU (trial.mps)")

    def end(self) -> None:
        """Ends all daemons."""
        self._look()
        ending = [actor.end.remote() for actor in self._actors.values()]
        if ending:
            ray.wait(ending, num_returns=len(ending), timeout=2 * END_S)
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors, self._starting = {}, {}
