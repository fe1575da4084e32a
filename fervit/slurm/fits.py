"""Checks whether trials fit into a job, and the job onto the cluster's nodes, before it waits in a queue for hours."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fervit.cluster.nodes import Node
from fervit.errors import UserError
from fervit.search.preflight import slots
from fervit.search.space.settings import TrialResources
from fervit.slurm.script import Request
from fervit.slurm.submit import ask_slurm
from fervit.slurm.times import seconds_of

OTHERWISE = {
    "clusters": "M",
    "constraint": "C",
    "cpus-per-task": "c",
    "exclusive": "",
    "gpus": "G",
    "gpus-per-node": "",
    "gres": "",
    "nodefile": "F",
    "nodelist": "w",
    "reservation": "",
}
"""Flags of sbatch, with their letters, by which a job gets other nodes, or more of them, than `Request` says."""
MANY = 1e6
"""More CPUs than any node has."""
PLACES = 4
"""How many workers a node of a job is made for that has no GPUs, unless the user says how many CPUs it gets."""


@dataclass(frozen=True, kw_only=True)
class NodeKind:
    """Nodes of a partition that are alike."""

    partition: str
    default: bool
    cpus: int
    gpus: int
    limit: float
    """The longest time in seconds that the partition allows."""


def nodes_of_slurm() -> list[NodeKind]:
    """Returns the kinds of nodes of all partitions, as sinfo tells them.

    Raises:
        UserError: there is no Slurm here.
        JobError: Slurm does not answer.
    """
    kinds = []
    for line in ask_slurm("sinfo", "--noheader", "--exact", "--format=%P|%c|%G|%l").splitlines():
        found = re.fullmatch(r"([^|]+)\|(\d+)[^|]*\|([^|]*)\|([^|]*)", line.strip())
        if found is None:
            continue  # a headline, or what a cluster's own sinfo says
        partition, cpus, gres, limit = found.groups()
        gpus = sum(int(n) for n in re.findall(r"gpu(?::[^:,(]+)?:(\d+)", gres))
        kinds.append(
            NodeKind(
                partition=partition.rstrip("*"),
                default=partition.endswith("*"),
                cpus=int(cpus),
                gpus=gpus,
                limit=seconds_of(limit) or math.inf,
            )
        )
    return kinds


def check_fits(request: Request, kinds: Sequence[NodeKind], environment: Mapping[str, str] = os.environ) -> None:
    """Checks that the partition has nodes of the size that the job asks for.

    Flags that go to sbatch as they are, and variables that it reads, name the partition, too. Where they choose nodes
    in another way, only Slurm itself knows what fits.

    Args:
        request: what the job asks for.
        kinds: the nodes of the cluster.
        environment: the variables that sbatch will see.

    Raises:
        UserError: the partition does not exist, its nodes are too small, or its time limit is too short.
    """
    if any(_is_given(name, letter, request, environment) for name, letter in OTHERWISE.items()):
        return
    where, named = _partition(request, environment)
    names = sorted({kind.partition for kind in kinds})
    if named is not None and not named <= set(names):
        raise UserError(f"{where}: there is none; this cluster has {', '.join(names)}")
    there = [kind for kind in kinds if (kind.partition in named if named else kind.default)]
    if not there:
        return  # no default partition: sbatch says what it wants
    partitions = " and ".join(sorted({kind.partition for kind in there}))
    if not any(k.cpus >= request.cpus_per_node and k.gpus >= request.gpus_per_node for k in there):
        largest = max(
            there, key=lambda kind: (kind.gpus, kind.cpus) if request.gpus_per_node else (kind.cpus, kind.gpus)
        )
        raise UserError(
            f"no node of partition {partitions} has {request.cpus_per_node} CPUs and {request.gpus_per_node} GPUs: the "
            f"largest has {largest.cpus} CPUs and {largest.gpus} GPUs; lower --cpus_per_node or --gpus_per_node, or "
            "name another --partition"
        )
    if _is_given("qos", "q", request, environment):
        return  # which may have limits of its own
    seconds = seconds_of(request.time) or 0
    if all(seconds > kind.limit for kind in there):
        raise UserError(
            f"--time {request.time}: partition {partitions} allows {max(kind.limit for kind in there) / 3600:g} hours; "
            "a sweep goes on in the next job by itself, so the limit may be short"
        )


def _partition(request: Request, environment: Mapping[str, str]) -> tuple[str, set[str] | None]:
    """Returns how the user names the partitions, and their names; None for the default one.

    As for sbatch: a variable beats what the script says, whose last word counts.
    """
    in_flags = _given(request.sbatch, "partition", "p")
    if value := environment.get("SBATCH_PARTITION"):
        return f"SBATCH_PARTITION={value}", set(value.split(","))
    value = in_flags or request.partition
    return f"--partition {value}", set(value.split(",")) if value else None


def _is_given(name: str, letter: str, request: Request, environment: Mapping[str, str]) -> bool:
    """Returns whether a flag of sbatch, or the variable that sets it, is given."""
    variable = f"SBATCH_{name.upper().replace('-', '_')}"
    return variable in environment or _given(request.sbatch, name, letter) is not None


def _given(sbatch: Sequence[str], name: str, letter: str) -> str | None:
    """Returns the value of a flag of sbatch in its last place, "" if it has none; None if it is not given."""
    value = None
    for i, word in enumerate(sbatch):
        follows = sbatch[i + 1] if i + 1 < len(sbatch) else ""
        long, equals, given = word.partition("=")
        if long == f"--{name}":
            value = given if equals else follows
        elif letter and word.startswith(f"-{letter}"):
            value = word[2:] or follows
    return value


def trial_in_job(trial: TrialResources, gpus_per_node: int) -> TrialResources:
    """Returns what a trial gets in a job: a GPU for each worker if it does not say, none where the job has none."""
    return replace(trial, gpus=(1.0 if trial.gpus is None else trial.gpus) if gpus_per_node else 0.0)


def cpus_for(trial: TrialResources, nodes: int, gpus_per_node: int) -> int:
    """Returns the CPUs that each node of a job needs, so that as many workers run there as its GPUs have room for.

    Args:
        trial: the resources of a trial; its workers may run on several nodes.
        nodes: the nodes of the job.
        gpus_per_node: the GPUs of each.
    """
    placed = trial_in_job(trial, gpus_per_node)
    by_gpu = Node(address="", cpus=MANY, gpus=gpus_per_node)
    places = slots(replace(placed, workers=1), [by_gpu]) if placed.gpus_each else PLACES
    least = PLACES if trial.gpus is None else 1
    return max(least, math.ceil(max(places, math.ceil(trial.workers / nodes)) * trial.cpus))


def check_trial(trial: TrialResources, request: Request, workers: str = "trial.workers") -> str:
    """Checks that the workers of a trial fit onto the nodes of the job, and returns a remark ("" for none).

    Args:
        trial: the resources of a trial or of a run.
        request: what the job asks for.
        workers: the name of the number of workers, for the message.

    Raises:
        UserError: they do not fit.
    """
    placed = trial_in_job(trial, request.gpus_per_node)
    node = Node(address="", cpus=request.cpus_per_node, gpus=request.gpus_per_node)
    if placed.cpus > node.cpus or placed.gpus_each > node.gpus:
        raise UserError(
            f"trial: needs {placed.cpus:g} CPUs and {placed.gpus_each:g} GPUs on one node, the job asks for "
            f"{request.cpus_per_node} CPUs and {request.gpus_per_node} GPUs a node; raise --cpus_per_node or "
            "--gpus_per_node, or lower it with --set trial.cpus=N or --set trial.gpus=N"
        )
    fit = slots(replace(placed, workers=1), [node] * request.nodes)
    if fit < trial.workers:
        raise UserError(
            f"{workers}: {trial.workers} workers of {placed.cpus:g} CPUs and {placed.gpus_each:g} GPUs do not fit into "
            f"a job of {request.nodes} nodes with {request.cpus_per_node} CPUs and {request.gpus_per_node} GPUs each, "
            f"{fit} do; raise --nodes, --gpus_per_node or --cpus_per_node, or lower {workers}"
        )
    if trial.gpus and not request.gpus_per_node:
        return f"no --gpus_per_node: trials run on the CPU, though the space gives each {trial.gpus_each:g} GPUs"
    return ""
