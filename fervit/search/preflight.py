"""Computes before the first trial how many trials run at once and whether the disk has room. Does not use Ray."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fervit.cluster.nodes import Node
from fervit.errors import UserError
from fervit.hardware import per_gpu
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.settings import TrialResources


def placeable(trial: TrialResources, nodes: Sequence[Node]) -> tuple[TrialResources, str]:
    """Returns the resources that a trial gets on this cluster, and a remark for the user ("" for none).

    If no node has a GPU, trials that ask for one run on the CPU, so that one space file serves a laptop and a cluster.

    Raises:
        UserError: no single node has the resources that a trial needs.
    """
    remark = ""
    if trial.gpus and not any(node.gpus for node in nodes):
        remark = f"no GPU in this cluster: trials run on the CPU (trial.gpus is {trial.gpus:g})"
        trial = replace(trial, gpus=0)
    if trial.gpus > 1 and trial.gpus != int(trial.gpus):
        raise UserError(f"trial.gpus: must be a share of one GPU or a whole number of them, but got {trial.gpus:g}")
    what = "each worker needs" if trial.workers > 1 else "needs"
    if not any(trial.cpus <= node.cpus and trial.gpus <= node.gpus for node in nodes):
        largest = max(nodes, key=lambda node: (node.gpus, node.cpus) if trial.gpus else (node.cpus, node.gpus))
        lacking = f"{trial.gpus:g} GPUs" if all(trial.gpus > node.gpus for node in nodes) else f"{trial.cpus:g} CPUs"
        if trial.gpus and "CPUs" in lacking:
            lacking += f" beside {trial.gpus:g} GPUs"
        raise UserError(
            f"trial: {what} {lacking} on one node, the largest has {largest.cpus:g} CPUs and {largest.gpus:g} GPUs; "
            "lower it with --set trial.cpus=N or --set trial.gpus=N"
        )
    if slots(replace(trial, workers=1), nodes) < trial.workers:
        raise UserError(
            f"trial.workers: {trial.workers} workers of {trial.cpus:g} CPUs and {trial.gpus:g} GPUs do not fit into "
            "the "
            f"cluster at once, {slots(replace(trial, workers=1), nodes)} do; lower trial.workers, trial.cpus or "
            "trial.gpus"
        )
    return trial, remark


def slots(trial: TrialResources, nodes: Sequence[Node]) -> int:
    """Returns how many trials run at once. Each worker of a trial has to fit on one node."""

    def fit(node: Node) -> int:
        by_gpu = math.inf
        if trial.gpus >= 1:
            by_gpu = node.gpus // trial.gpus
        elif trial.gpus:
            by_gpu = node.gpus * per_gpu(trial.gpus)  # a share of a GPU cannot be spread over two GPUs
        return int(min(node.cpus // trial.cpus, by_gpu))

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
    size = f"{space.size():.0f} configurations" if space.size() != float("inf") else "a continuous space"
    note = (
        f"; {left_out} of {pairs} pairs of embed_dim and heads are left out (heads must divide embed_dim)"
        if left_out
        else ""
    )
    return f"{len(space.parameters)} parameters, {size}{note}"
