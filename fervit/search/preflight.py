"""What can be known before the first trial. No Ray."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fervit.cluster.nodes import Node
from fervit.errors import UserError
from fervit.search.space.search_space import DEFAULTS, SearchSpace
from fervit.search.space.settings import TrialResources


def placeable(trial: TrialResources, nodes: Sequence[Node]) -> tuple[TrialResources, str]:
    """What a trial will get on this cluster, and a remark for the user ("" for none).

    Without a GPU anywhere, trials that ask for one run on the CPU: one space file serves a laptop and a cluster.

    Raises:
        UserError: no single node has what a trial needs.
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
    """How many trials run at once. A worker has to fit on one node."""

    def fit(node: Node) -> int:
        by_gpu = math.inf
        if trial.gpus >= 1:
            by_gpu = node.gpus // trial.gpus
        elif trial.gpus:
            by_gpu = node.gpus * (1 // trial.gpus)  # a share lies on one GPU
        return int(min(node.cpus // trial.cpus, by_gpu))

    return sum(fit(node) for node in nodes) // trial.workers


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a sweep will take, as far as can be said before it."""

    parameters: int
    """Weights of the largest model of the space."""
    checkpoint_bytes: int
    """On disk at once, at most: the best models, and what the running trials go on from."""
    epochs: float
    """That all trials together can be expected to train."""
    flops: float
    """That they would take at most, if every model was the largest: 6 for each weight and token, forward and
    backward."""


def forecast(space: SearchSpace, running: int, rows: int) -> Forecast:
    """Of the largest model that the space can build; `running` trials at once, on so many training rows."""
    weights = largest_model(space)
    confirmations = space.confirm.top * space.confirm.seeds * space.early_stopping.max_epochs
    epochs = space.search.trials * epochs_a_trial(space) + confirmations
    whole = {**DEFAULTS, **space.fixed}
    averages = "ema_decay" in space.parameters or whole["ema_decay"] > 0
    model, state = 4 * weights, 4 * weights * (5 if averages else 4)  # weights, two moments of AdamW, the best weights
    runs = max(1, space.confirm.top) * (1 + (space.confirm.seeds if space.confirm.top else 0))
    return Forecast(
        parameters=weights,
        checkpoint_bytes=model * runs + (model + state) * running,
        epochs=epochs,
        flops=6.0 * weights * ((whole["seq_len"] or 18) + 1) * rows * epochs,
    )


def epochs_a_trial(space: SearchSpace) -> float:
    """That a trial of the search can be expected to train: at each rung one in `reduction_factor` goes on."""
    stopping = space.early_stopping
    if stopping.scheduler == "none":
        return stopping.max_epochs
    if stopping.scheduler == "median":  # half of those that come to a comparison end there
        return (stopping.grace_epochs + stopping.max_epochs) / 2
    epochs, rung, share = 0.0, 0, 1.0
    following = stopping.grace_epochs
    while following < stopping.max_epochs:
        epochs += share * (following - rung)
        rung, following, share = following, following * stopping.reduction_factor, share / stopping.reduction_factor
    return epochs + share * (stopping.max_epochs - rung)


def largest_model(space: SearchSpace) -> int:
    """Weights of the model with the most of them."""
    from fervit.model import count_weights

    whole = {**DEFAULTS, **space.fixed}
    for name, distribution in space.parameters.items():
        options = distribution.options()
        if name in ("depth", "mlp_dim") and options is not None:
            whole[name] = max(options)
    embed_dim, heads = max(space.buildable_pairs())
    config = space.config({**space.example(), "embed_dim": embed_dim, "heads": heads})
    config = replace(config, depth=whole["depth"], mlp_dim=whole["mlp_dim"], seq_len=config.seq_len or 18)
    return count_weights(config.model())


def check_disk(need: int, folder: Path) -> str:
    """A line on the disk that `folder` is on.

    Raises:
        UserError: it has less than is needed.
    """
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{folder}: {need / 1e9:.2f} GB of checkpoints may be needed at once, but only {free / 1e9:.2f} GB are "
            "free; make room, or lower confirm.top or the largest depth and embed_dim"
        )
    return f"{free / 1e9:.0f} GB free for at most {need / 1e9:.2f} GB of checkpoints"


def describe_space(space: SearchSpace) -> str:
    """One line: how large the space is and which pairs are left out."""
    left_out, pairs = space.pairs_left_out()
    size = f"{space.size():.0f} configurations" if space.size() != float("inf") else "a continuous space"
    note = (
        f"; {left_out} of {pairs} pairs of embed_dim and heads are left out (heads must divide embed_dim)"
        if left_out
        else ""
    )
    return f"{len(space.parameters)} parameters, {size}{note}"
