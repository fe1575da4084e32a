"""Divides the hardware of a cluster or of this machine among the processes of a training."""

from __future__ import annotations

from dataclasses import dataclass

from fervit.cluster.nodes import Cluster
from fervit.errors import UserError

CPUS_BESIDE_A_GPU = 2
"""The largest number of CPUs of a process that trains on a GPU."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The processes of a training, and the resources of each."""

    workers: int
    """The number of processes."""
    cpus: int
    """The CPUs of each process, which are also its threads."""
    gpu: bool
    """Whether each process has a GPU of its own."""


def place(cluster: Cluster, workers: int, use_gpu: bool | None, *, problem: str = "") -> Workers:
    """Divides the cluster among the workers.

    Args:
        cluster: the cluster, or this machine.
        workers: the number of processes that train together.
        use_gpu: True for a GPU for each worker, False for the CPU, None for GPUs if there are any.
        problem: why GPUs cannot be used, which then do not count in `cluster`; "" if all can.

    Raises:
        UserError: the cluster has too few GPUs or CPUs.
    """
    where = "this machine" if cluster.started_here else "this cluster"
    if use_gpu and cluster.gpus < 1:
        raise UserError(f"--use_gpu: {problem or f'{where} has no GPU'}; leave it out to train on the CPU")
    gpu = cluster.gpus >= 1 if use_gpu is None else use_gpu
    if gpu and workers > cluster.gpus:
        raise UserError(f"--workers {workers}: the cluster has {cluster.gpus:g} GPUs, and each worker needs one")
    if workers > cluster.cpus:
        raise UserError(f"--workers {workers}: the cluster has {cluster.cpus:g} CPUs, and each worker needs one")
    cpus = max(
        n
        for n in range(1, int(max(node.cpus for node in cluster.nodes)) + 1)
        if n == 1 or sum(int(node.cpus // n) for node in cluster.nodes) >= workers
    )
    return Workers(workers=workers, cpus=min(cpus, CPUS_BESIDE_A_GPU) if gpu else cpus, gpu=gpu)
