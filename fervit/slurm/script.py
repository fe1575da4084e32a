"""The batch script of a job."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fervit.cluster.job import JOB_FOLDER
from fervit.system.program import called, shipped

CLUSTER_SCRIPT = shipped("clusters") / "slurm.sh"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a job asks of Slurm."""

    name: str
    nodes: int
    cpus_per_node: int
    gpus_per_node: int
    time: str
    mem: str | None = None
    partition: str | None = None
    account: str | None = None
    save_before: int = 120
    """The seconds before the time limit at which the command is asked to save."""
    max_requeues: int = 100
    sbatch: tuple[str, ...] = ()
    """Further flags of sbatch."""


@dataclass(frozen=True)
class JobFiles:
    """The files of a job in `<folder of the sweep or run>/slurm/`."""

    folder: Path
    """The folder of the sweep or the run."""

    @property
    def path(self) -> Path:
        """The folder of these files."""
        return self.folder / JOB_FOLDER

    @property
    def script(self) -> Path:
        """The batch script."""
        return self.path / "job.sh"

    @property
    def log(self) -> Path:
        """What all jobs of the script printed."""
        return self.path / "log.txt"

    @property
    def jobs(self) -> Path:
        """A line of JSON for each beginning and each end of a job."""
        return self.path / "jobs.jsonl"


def batch_script(request: Request, files: JobFiles, command: Sequence[str], work: Path) -> str:
    """Returns the text of the batch script.

    Args:
        request: what the job asks of Slurm.
        files: the files of the job.
        command: the command, beginning with the Python that runs it.
        work: the folder in which it runs.
    """
    flags = [
        f"--job-name={request.name}",
        f"--nodes={request.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={request.cpus_per_node}",
        *([f"--gres=gpu:{request.gpus_per_node}"] if request.gpus_per_node else []),
        *([f"--mem={request.mem}"] if request.mem else []),
        f"--time={request.time}",
        *([f"--partition={request.partition}"] if request.partition else []),
        *([f"--account={request.account}"] if request.account else []),
        f"--signal=B:USR1@{request.save_before}",
        "--requeue",
        "--no-kill",
        f"--output={files.log}",
        "--open-mode=append",
        *request.sbatch,
    ]
    exports = {
        "FERVIT_JOB_FOLDER": files.path,
        "FERVIT_MAX_REQUEUES": request.max_requeues,
        "FERVIT_SAVE_BEFORE": request.save_before,
        "FERVIT_SCRIPT": files.script,
    }
    lines = [
        "#!/usr/bin/env bash",
        f"# Written by {called('slurm')}, and yours to change: `sbatch` of this file does what that did.",
        *(f"#SBATCH {_quoted(flag)}" for flag in flags),
        "",
        "# What your cluster wants loaded goes here, such as: module load cuda",
        *(f"export {name}={shlex.quote(str(value))}" for name, value in exports.items()),
        f"cd {shlex.quote(str(work))} || exit 2",
        "# `exec`, since Slurm sends its notice to this very process.",
        f"exec bash {shlex.quote(str(CLUSTER_SCRIPT))} {shlex.join(command)}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(flag: str) -> str:
    """Quotes a flag for sbatch, which knows double quotes in its comments."""
    return f'"{flag}"' if any(character.isspace() for character in flag) else flag
