"""One node of a job's own Ray, which `clusters/slurm.sh` starts on each node with srun.

It starts Ray in a short folder of its own on the node's disk, with free ports only and with what Slurm gave the job. It
tells the script on standard output `head NODE ADDRESS FOLDER`, `up NODE` or `failed NODE WHY`, and lives until its
standard input ends. The script writes the address and the name of the first node there. However it ends, its processes
end with it, and its folder is removed.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

from fervit.errors import JobError
from fervit.slurm.first_node import go_on_without
from fervit.slurm.share import MIB, free_bytes, share_of_job

LONGEST = 40
"""The length in bytes of the longest folder in which Ray's sockets have names of at most 107 bytes."""
NEEDED = 256 * MIB
"""The free bytes that Ray's folder needs: logs, sockets, and objects that do not fit into memory."""
CANDIDATES = ("FERVIT_TMP", "SLURM_TMPDIR", "TMPDIR", "/tmp", "/var/tmp", "/dev/shm")
"""The variables and folders that may name a place for Ray's folder, in the order in which they are tried."""
TRIES = 3
"""How often Ray is started, if its ports were taken between two looks."""
PREFIX = "fv"
PR_SET_CHILD_SUBREAPER = 36
HOOK = "RAY_START_HOOK"


def main() -> None:
    """Runs this node until the job's script closes standard input, SIGTERM comes, or Ray ends."""
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    signal.signal(signal.SIGTERM, _leave)
    # What loses its parent becomes a child of this process, and does not outlive it.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        with own_folder(os.environ) as folder:
            try:
                _run(name, folder)
            finally:
                _end_descendants()
    except (JobError, OSError) as error:
        _tell(f"failed {name} {error}")
        sys.exit(1)


def without_client_server(params: Any, head: bool) -> None:
    """Leaves out the server of Ray Client, whose port would be the same for all jobs; `ray start` calls this hook."""
    params.ray_client_server_port = None


def _leave(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(0)


def _run(name: str, folder: Path) -> None:
    is_head = os.environ.get("SLURM_NODEID", "0") == "0"
    address, _, first = ("" if is_head else sys.stdin.readline().strip()).partition(" ")
    if not is_head and not address:
        return  # the job ended before it had a head
    for left in reversed(range(TRIES)):
        try:
            _start_ray(folder, address)
            break
        except JobError:
            _end_descendants()
            if not left:
                raise
    if is_head:
        _tell(f"head {name} {(folder / 'ray_current_cluster').read_text().strip()} {folder}")
    _tell(f"up {name}")
    while not _input_ended():
        _reap()
        if not any("raylet/raylet" in command for _, command in _descendants()):
            _say(f"node {name}: Ray has ended here; its trials go on elsewhere")
            if first:
                _end_descendants()
                go_on_without(first, _say)
            return


def _start_ray(folder: Path, address: str) -> None:
    """Starts Ray's processes.

    Raises:
        JobError: Ray does not start.
    """
    role = [f"--address={address}"] if address else ["--head", "--port=0", "--dashboard-port=0"]
    role += [] if address else ["--include-dashboard=true", "--dashboard-host=127.0.0.1", "--no-monitor"]
    ports = ("object-manager", "node-manager", "min-worker", "max-worker")
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--temp-dir={folder}", *role]
    command += [f"--{port}-port=0" for port in ports] + ["--dashboard-agent-listen-port=0"]
    command += [
        f"--node-ip-address={_own_address(address)}",
        *share_of_job(os.environ).flags(free_bytes(Path("/dev/shm"))),
    ]
    environment = {
        **os.environ,
        HOOK: "fervit.slurm.node.without_client_server",
        "RAY_TMPDIR": str(folder),
        "TMPDIR": str(folder),
    }
    log = folder / "start.log"
    with log.open("w") as file:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
    if done.returncode:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise JobError(f"Ray does not start here ({lines[-1][:300] if lines else f'status {done.returncode}'})")


def _own_address(head: str) -> str:
    """Returns the address of the interface through which this node reaches the job's first node."""
    other = head.rpartition(":")[0] or os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "")
    for host in (other, socket.gethostname()):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((host, 9))  # sends nothing
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return "127.0.0.1"


@contextmanager
def own_folder(environment: Mapping[str, str]) -> Iterator[Path]:
    """Makes a folder for this job on this node's disk, removes it at the end, and removes those that died jobs left.

    Raises:
        JobError: there is no folder that is short enough, may be written, and has room.
    """
    why = []
    for given in CANDIDATES:
        path = Path(given if given.startswith("/") else environment.get(given) or "/nowhere")
        start = f"{PREFIX}{os.getuid()}_{environment.get('SLURM_JOB_ID', 0)}_"
        if not path.is_dir():
            continue
        if len(os.fsencode(path / start)) + 8 > LONGEST:
            why.append(f"{path} is too long a name for sockets")
        elif not os.access(path, os.W_OK):
            why.append(f"{path} cannot be written")
        elif free_bytes(path) < NEEDED:
            why.append(f"{path} has {free_bytes(path) // MIB} MiB free of the {NEEDED // MIB} that are needed")
        else:
            _remove_left_over(path)
            folder, lock = _locked_folder(path, start)
            try:
                with lock:
                    yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return
    raise JobError(f"no folder on this node for Ray: {'; '.join(why)}; make room, or name another one in FERVIT_TMP")


def _locked_folder(path: Path, start: str) -> tuple[Path, IO[str]]:
    """Makes a new folder, and returns it with its file that is locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=start, dir=path))  # mode 0700
        with suppress(FileNotFoundError):  # another job took it for a left-over before it was locked
            lock = (folder / ".lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock.fileno()).st_ino == (folder / ".lock").stat().st_ino:
                return folder, lock
            lock.close()


def _remove_left_over(path: Path) -> None:
    """Removes folders of this user's jobs that were killed, so that they could not remove them."""
    for folder in path.glob(f"{PREFIX}{os.getuid()}_*_*"):
        with suppress(OSError), (folder / ".lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _input_ended() -> bool:
    """Waits for a second at most, and returns whether standard input has ended."""
    ready, _, _ = select.select([0], [], [], 1.0)
    return bool(ready) and not os.read(0, 4096)


def _end_descendants() -> None:
    """Kills all processes below this one. What they had to save, they have saved."""
    while alive := _descendants():
        for pid, _ in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
        _reap()


def _reap() -> None:
    """Takes note of children that have ended, so that they do not stay as zombies."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _descendants() -> list[tuple[int, str]]:
    """Returns the id and the command line of each process below this one that has not ended."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(folder.name)] = int(parent)
    found, above = [], {os.getpid()}
    while above:
        above = {child for child, parent in parents.items() if parent in above}
        for pid in above:
            with suppress(OSError):
                found.append((pid, Path(f"/proc/{pid}/cmdline").read_text(errors="replace")))
    return found


def _say(line: str) -> None:
    """Prints a line into the job's log."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
