"""Computes before the first trial how many trials run at once and whether the disk has room. Does not use Ray."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fervit.cluster.nodes import Node
from fervit.errors import UserError
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.settings import Budget, TrialResources
from fervit.system.hardware import per_gpu


def placeable(
    trial: TrialResources, nodes: Sequence[Node], *, problem: str = "", asked: bool = False
) -> tuple[TrialResources, str]:
    """Returns the resources that a trial gets on this cluster, and a remark for the user ("" for none).

    If the space does not say how many GPUs a trial gets, each of its workers gets one where there are some, as in
    `train.py`. If no node has a GPU, trials that ask for one run on the CPU, so that one space file serves a laptop and
    a cluster.

    Args:
        trial: the resources that the space asks for.
        nodes: the nodes of the cluster. GPUs that cannot be used do not count.
        problem: why GPUs of the cluster cannot be used; "" if all can.
        asked: whether the user asked for GPUs by name, so that the CPU will not do.

    Raises:
        UserError: no single node has the resources that a trial needs.
    """
    trial, remark = _gpus_of(trial, any(node.gpus for node in nodes), problem, asked=asked)
    if trial.gpus_each > 1:
        raise UserError(
            f"trial.gpus: a worker trains on one GPU, but got {trial.gpus_each:g}; for a trial on several GPUs "
            "--set trial.gpus=1 --set trial.workers=N"
        )
    gpus = trial.gpus_each
    what = "each worker needs" if trial.workers > 1 else "needs"
    if not any(trial.cpus <= node.cpus and gpus <= node.gpus for node in nodes):
        largest = max(nodes, key=lambda node: (node.gpus, node.cpus) if gpus else (node.cpus, node.gpus))
        lacking = f"{gpus:g} GPUs" if all(gpus > node.gpus for node in nodes) else f"{trial.cpus:g} CPUs"
        if gpus and "CPUs" in lacking:
            lacking += f" beside {gpus:g} GPUs"
        raise UserError(
            f"trial: {what} {lacking} on one node, the largest has {largest.cpus:g} CPUs and {largest.gpus:g} GPUs; "
            "lower it with --set trial.cpus=N or --set trial.gpus=N"
        )
    if slots(replace(trial, workers=1), nodes) < trial.workers:
        raise UserError(
            f"trial.workers: {trial.workers} workers of {trial.cpus:g} CPUs and {gpus:g} GPUs do not fit into the "
            f"cluster at once, {slots(replace(trial, workers=1), nodes)} do; lower trial.workers, trial.cpus or "
            "trial.gpus"
        )
    return trial, remark


def _gpus_of(trial: TrialResources, has_gpus: bool, problem: str, *, asked: bool) -> tuple[TrialResources, str]:
    """Decides how many GPUs each worker of a trial gets, and returns a remark for the user ("" for none)."""
    on_cpu = f"{problem}; trials run on the CPU (--set trial.gpus=0 does so without a look)" if problem else ""
    if trial.gpus is None and has_gpus:
        remark = "trial.gpus is not given: a GPU for each worker (--set trial.gpus=0.25 for a quarter, 0 for the CPU)"
        return replace(trial, gpus=1.0), remark
    if trial.gpus is None:
        return replace(trial, gpus=0.0), on_cpu
    if trial.gpus and not has_gpus:
        if asked:
            raise UserError(
                f"trial.gpus={trial.gpus:g}: {problem or 'no node of this cluster has a GPU'}; or --set trial.gpus=0 "
                "for the CPU"
            )
        nothing = f"no GPU in this cluster: trials run on the CPU (trial.gpus is {trial.gpus:g})"
        return replace(trial, gpus=0.0), on_cpu or nothing
    return trial, ""


def check_budget(budget: Budget, resources: TrialResources) -> None:
    """Checks that the budget of GPU-hours can ever be spent.

    Raises:
        UserError: there is one, and trials run on the CPU.
    """
    if budget.gpu_hours is not None and not resources.gpus_each:
        raise UserError(
            f"budget.gpu_hours: {budget.gpu_hours:g} would never be spent, since trials run on the CPU here; "
            "--set budget.gpu_hours=null --set budget.hours=N, or run where there is a GPU"
        )


RAYS_UNITS = 10_000
"""Ray counts resources in so many parts of one, without the rounding of floating-point numbers."""


def slots(trial: TrialResources, nodes: Sequence[Node]) -> int:
    """Returns how many trials run at once. Each worker of a trial has to fit on one node."""

    def fit(node: Node) -> int:
        by_gpu = math.inf
        if trial.gpus_each >= 1:
            by_gpu = node.gpus // trial.gpus_each
        elif trial.gpus_each:
            by_gpu = int(node.gpus) * per_gpu(trial.gpus_each)  # a share of a GPU cannot be spread over two GPUs
        by_cpu = round(node.cpus * RAYS_UNITS) // max(1, round(trial.cpus * RAYS_UNITS))
        return int(min(by_cpu, by_gpu))

    return sum(fit(node) for node in nodes) // trial.workers


def check_disk(need: int, folder: Path) -> str:
    """Returns a line about the free space of the disk that holds `folder`.

    Args:
        need: the bytes that the sweep may need at once.
        folder: a folder on the disk.

    Raises:
        UserError: the disk has less free space than the sweep may need.
    """
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{folder}: {need / 1e9:.2f} GB of checkpoints may be needed at once, but only {free / 1e9:.2f} GB are "
            "free; make room, or lower confirm.top or the largest depth and embed_dim"
        )
    return f"{free / 1e9:.0f} GB free for at most {need / 1e9:.2f} GB of checkpoints"


def describe_space(space: SearchSpace) -> str:
    """Returns one line on how large the space is and how many pairs of embed_dim and heads cannot be built."""
    left_out, pairs = space.pairs_left_out()
    size = f"{space.size():.0f} configurations" if space.size() != float("inf") else "endlessly many configurations"
    note = (
        f"; {left_out} of {pairs} pairs of embed_dim and heads are left out (heads must divide embed_dim)"
        if left_out
        else ""
    )
    return f"{len(space.parameters)} parameters, {size}{note}"
