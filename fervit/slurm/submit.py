"""Checks a job on the machine where it is submitted, before it waits in a queue for hours, and submits it."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fervit.errors import JobError, UserError
from fervit.io.storage import is_uri
from fervit.search.space.settings import TrialResources
from fervit.slurm.script import JobFiles, Request
from fervit.slurm.times import seconds_of
from fervit.system.program import called

OWN_DISKS = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""Folders that are a node's own on every cluster."""
ANSWER_S = 60
"""The seconds within which Slurm must answer."""


@dataclass(frozen=True, kw_only=True)
class NodeKind:
    """Nodes of a partition that are alike."""

    partition: str
    default: bool
    cpus: int
    gpus: int
    limit: float
    """The longest time in seconds that the partition allows."""


def ask_slurm(*words: str, environment: Mapping[str, str] | None = None) -> str:
    """Runs a command of Slurm, and returns what it printed.

    Args:
        words: the command.
        environment: its variables; None for those of this process.

    Raises:
        UserError: there is no Slurm here.
        JobError: the command failed; the message is what it said.
    """
    if shutil.which(words[0]) is None:
        raise UserError(
            f"no Slurm here: {words[0]} is not on the PATH; run this on the cluster's login node (or `module load "
            f"slurm`), or take {called('tune')} itself"
        )
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=ANSWER_S, check=False, env=environment)
    except subprocess.TimeoutExpired:
        raise JobError(f"{words[0]}: Slurm does not answer within {ANSWER_S} s; try again later") from None
    if done.returncode:
        lines = [re.sub(r"^\w+: (error: )?", "", line) for line in done.stderr.splitlines() if line.strip()]
        raise JobError(f"{words[0]}: {'; '.join(lines) or f'status {done.returncode}'}")
    return done.stdout


def nodes_of_slurm() -> list[NodeKind]:
    """Returns the kinds of nodes of all partitions, as sinfo tells them.

    Raises:
        UserError: there is no Slurm here.
        JobError: Slurm does not answer.
    """
    kinds = []
    for line in ask_slurm("sinfo", "--noheader", "--exact", "--format=%P|%c|%G|%l").splitlines():
        partition, cpus, gres, limit = line.strip().split("|")
        gpus = sum(int(n) for n in re.findall(r"gpu(?::[^:,(]+)?:(\d+)", gres))
        kinds.append(
            NodeKind(
                partition=partition.rstrip("*"),
                default=partition.endswith("*"),
                cpus=int(re.sub(r"\D.*", "", cpus)),
                gpus=gpus,
                limit=seconds_of(limit) or math.inf,
            )
        )
    return kinds


def check_fits(request: Request, kinds: Sequence[NodeKind]) -> None:
    """Checks that the partition has nodes of the size that the job asks for.

    Raises:
        UserError: the partition does not exist, its nodes are too small, or its time limit is too short.
    """
    names = sorted({kind.partition for kind in kinds})
    if request.partition is not None and not set(request.partition.split(",")) <= set(names):
        raise UserError(f"--partition {request.partition}: there is none; this cluster has {', '.join(names)}")
    wanted = set(request.partition.split(",")) if request.partition else None
    there = [kind for kind in kinds if (kind.partition in wanted if wanted else kind.default)]
    if not there:
        return  # no default partition: sbatch says what it wants
    where = " and ".join(sorted({kind.partition for kind in there}))
    if not any(k.cpus >= request.cpus_per_node and k.gpus >= request.gpus_per_node for k in there):
        largest = max(
            there, key=lambda kind: (kind.gpus, kind.cpus) if request.gpus_per_node else (kind.cpus, kind.gpus)
        )
        raise UserError(
            f"no node of partition {where} has {request.cpus_per_node} CPUs and {request.gpus_per_node} GPUs: the "
            f"largest has {largest.cpus} CPUs and {largest.gpus} GPUs; lower --cpus_per_node or --gpus_per_node, or "
            "name another --partition"
        )
    seconds = seconds_of(request.time) or 0
    if all(seconds > kind.limit for kind in there):
        raise UserError(
            f"--time {request.time}: partition {where} allows {max(kind.limit for kind in there) / 3600:g} hours; a "
            "sweep goes on in the next job by itself, so the limit may be short"
        )


def check_trial(trial: TrialResources, request: Request) -> str:
    """Checks that a worker of a trial fits on a node of the job, and returns a remark for the user ("" for none).

    Raises:
        UserError: it does not fit.
    """
    if trial.cpus > request.cpus_per_node or (request.gpus_per_node and trial.gpus_each > request.gpus_per_node):
        raise UserError(
            f"trial: needs {trial.cpus:g} CPUs and {trial.gpus_each:g} GPUs on one node, the job asks for "
            f"{request.cpus_per_node} CPUs and {request.gpus_per_node} GPUs a node; raise --cpus_per_node or "
            "--gpus_per_node, or lower it with --set trial.cpus=N or --set trial.gpus=N"
        )
    if trial.gpus and not request.gpus_per_node:
        return f"no --gpus_per_node: trials run on the CPU, though the space gives each {trial.gpus_each:g} GPUs"
    return ""


def check_shared(what: str, path: str | Path) -> None:
    """Refuses a path that every node has for itself.

    Args:
        what: the flag or the name of the path, for the message.
        path: a path or a URI.

    Raises:
        UserError: it lies on a disk of this machine alone.
    """
    if is_uri(str(path)):
        return
    whole = Path(path).absolute()
    for own in (*OWN_DISKS, os.environ.get("TMPDIR", "")):
        if own and whole.is_relative_to(own):
            raise UserError(
                f"{what} {path}: {own} is a disk of each node's own; put it into a folder that all nodes share, such "
                "as your home or the project's"
            )


def submit(files: JobFiles) -> str:
    """Submits the batch script, and returns the number of the job.

    Raises:
        UserError: there is no Slurm here, or it refuses the job.
    """
    try:
        return ask_slurm("sbatch", "--parsable", str(files.script)).strip().partition(";")[0]
    except JobError as error:
        raise UserError(f"{error}; the script is {files.script}: change it, and give it to sbatch") from None
