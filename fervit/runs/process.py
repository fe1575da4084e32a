"""Trains in one process of this machine, without Ray. The process imports torch while the command reads the latents.

The command sends the job over a pipe and follows the events of the run. The process ends when the pipe is closed, so
that it never outlives the command. A process that dies is replaced. If the command itself dies, `--resume` continues
the run.
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import Any

from fervit.cluster.gpus import GpuFacts, GpuLook, gpus_here, look_here
from fervit.cluster.nodes import Cluster, Node
from fervit.cluster.workers import Workers
from fervit.errors import JobError
from fervit.io.disk import remove
from fervit.latents import LatentSet
from fervit.runs.folder import RunFolder
from fervit.system.hardware import FORCED_DEVICE, device_of, usable_cpus
from fervit.training.config import TrainConfig

MAX_FAILURES = 3
"""How many times a run continues by itself after its process died."""
COMMAND = (
    "import signal as s, sys; [s.signal(number, s.SIG_IGN) for number in (s.SIGHUP, s.SIGINT, s.SIGTERM, s.SIGUSR1)]; "
    "sys.path[:] = {path!r}; from fervit.runs.process import serve; serve(looks={looks})"
)
"""The process ignores what asks it to end: the command answers, although schedulers send signals to all processes."""


class WarmProcess:
    """A Python process that imports what a training needs and then waits for a job.

    Args:
        looks: whether it looks at its GPU before, which costs some of the GPU's memory.
    """

    def __init__(self, *, looks: bool = False) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                COMMAND.format(path=[entry for entry in sys.path if isinstance(entry, str)], looks=looks),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            process_group=0,  # keeps Ctrl-C from the process, since the command handles it
        )
        self._machine: GpuLook | None = None

    def machine(self) -> GpuLook:
        """Returns this machine as a cluster of one node, and what the process has found of its GPU.

        The call waits until the process has imported torch.

        Raises:
            JobError: the process has ended.
        """
        if self._machine is None:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            if not line:
                raise JobError(f"the training's process could not start ({self.last_words()}); start the command again")
            found = json.loads(line)
            node = Node(address="this machine", cpus=usable_cpus(), gpus=found["gpus"])
            cluster = Cluster(nodes=(node,), dashboard=None, started_here=True)
            answers = {node.address: GpuFacts.from_json(found["facts"])} if found["facts"] else {}
            self._machine = GpuLook.of(cluster, answers)
        return self._machine

    def run(self, job: dict[str, Any]) -> int:
        """Sends the job to the process, waits for its end, and returns its exit status, negative after a signal."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the process may have died
            pickle.dump(job, self._process.stdin, protocol=5)
            self._process.stdin.flush()
        status = self._process.wait()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        return status

    def last_words(self) -> str:
        """Returns the last line that the process wrote before it got a job; "no message" if there is none."""
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "no message")

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()
        self._process.wait()


class ProcessJob:
    """Trains in a process of this machine while the command follows the events.

    Args:
        process: the first process that trains. If it dies, it is replaced by a new one.
        config: the hyperparameters.
        train: the training split.
        val: the validation split.
        workers: the resources of the process, as `place` returns them.
        folder: the folder of the run.
    """

    def __init__(
        self,
        process: WarmProcess,
        config: TrainConfig,
        train: LatentSet,
        val: LatentSet,
        workers: Workers,
        folder: RunFolder,
    ) -> None:
        for path in (folder.events, folder.stop):
            remove(path)
        self.error: BaseException | None = None
        """Why the run ended, if its process died too often; None otherwise."""
        self._process, self._closed = process, False
        job = {
            "config": config,
            "folder": folder,
            "threads": workers.cpus,
            "device": device_of(float(workers.gpu)),
            "latents": (train, val),
        }
        # The main thread must be free to handle Ctrl-C.
        self._thread = threading.Thread(target=self._run, args=(job,), daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether a process trains or is being replaced."""
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Waits until the job ends, but at most this many seconds."""
        self._thread.join(seconds)

    def close(self) -> None:
        """Kills the process if it still trains."""
        self._closed = True
        self._process.kill()
        self._thread.join()

    def _run(self, job: dict[str, Any]) -> None:
        for deaths in range(MAX_FAILURES + 1):
            if deaths:
                self._process = WarmProcess()
            if self._closed:
                self._process.kill()
            status = self._process.run(job)
            if status == 0 or self._closed:
                return
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        self.error = ChildProcessError(f"its process died {MAX_FAILURES + 1} times, the last time of {how}")


def serve(*, looks: bool = False) -> None:
    """The main function of the process: it imports torch, reads a job from standard input, and trains.

    Args:
        looks: whether to look at the GPU first, if there is one.
    """
    answer = os.fdopen(os.dup(1), "w")
    gpus = gpus_here()
    facts = look_here().to_json() if looks and gpus and FORCED_DEVICE not in os.environ else None
    print(json.dumps({"gpus": gpus, "facts": facts}), file=answer, flush=True)
    from fervit.runs.worker import WorkerJob, run_on_worker

    try:
        job = pickle.load(sys.stdin.buffer)  # from the command that started this process, over a pipe of its own
    except (EOFError, pickle.UnpicklingError):
        return  # the command has ended
    entered = time.time()
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    folder: RunFolder = job["folder"]
    with folder.ray_log.open("a", encoding="utf-8") as log, folder.process_lock.open("w") as lock:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
        fcntl.flock(lock, fcntl.LOCK_EX)
        own = WorkerJob(config=job["config"], folder=folder, threads=job["threads"], device=job["device"])
        run_on_worker(own, *job["latents"], entered=entered, imported=entered)


def _end_with_the_command() -> None:
    """Ends this process once the pipe from the command is closed."""
    while os.read(0, 1):
        pass
    os._exit(1)
