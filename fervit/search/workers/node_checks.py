"""Checks on the nodes of the cluster before a sweep: which files they see, and how fast they train."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray

from fervit.cluster.nodes import Node, not_on
from fervit.cluster.shared_folder import check_shared
from fervit.errors import UserError
from fervit.io.files import first_line
from fervit.io.storage import child
from fervit.latents.parts import about_in
from fervit.search.space.settings import TrialResources
from fervit.search.workers.worker_group import SharedLatents
from fervit.system.hardware import device_of
from fervit.training.config import TrainConfig
from fervit.training.failure import PROCESS_DIED, Failure

MEASURED_S = 3.0
"""The seconds for which each measured configuration is trained."""


def check_nodes(nodes: Sequence[Node], folder: Path, latents: str) -> list[str]:
    """Checks that every node can write to the sweep's folder and read the latents, and returns remarks for the user.

    Trials write their checkpoints to the sweep's folder. They get the latents through Ray, so that a node that cannot
    read the latents causes only a remark.

    Raises:
        UserError: a node does not share the folder with the others.
    """
    found = check_shared(nodes, folder, partial(_unreadable, latents))
    return [f"node {node} cannot read {latents} ({why}); it is sent the codes instead" for node, why in found.items()]


def _unreadable(latents: str) -> str:
    try:
        return "there are none" if about_in(child(latents, "train")) is None else ""
    except (OSError, UserError) as error:
        return first_line(error)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long an epoch of a configuration takes, or why the configuration cannot be trained."""

    seconds_an_epoch: float
    failure: Failure | None = None


def measure_pace(
    configs: Sequence[TrainConfig], latents: SharedLatents, resources: TrialResources, unusable: Iterable[str] = ()
) -> list[Pace]:
    """Trains each configuration for some seconds with the resources of a trial, on any node that has them free.

    Args:
        configs: the configurations.
        latents: the training and the validation split.
        resources: the resources of a trial.
        unusable: Ray's ids of the nodes whose GPUs cannot be used.
    """
    options: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus_each}
    if resources.gpus_each:
        options["label_selector"] = not_on(unusable)
    threads, device = max(1, int(resources.cpus)), device_of(resources.gpus_each)
    share = min(1.0, resources.gpus_each or 1.0)
    tasks = [_pace.options(**options).remote(config, latents, threads, device, share) for config in configs]
    paces = []
    for task in tasks:
        try:
            paces.append(ray.get(task))
        except ray.exceptions.RayError as error:
            paces.append(Pace(seconds_an_epoch=0.0, failure=Failure(PROCESS_DIED, first_line(error))))
    return paces


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def _pace(config: TrainConfig, latents: SharedLatents, threads: int, device: str, memory_share: float) -> Pace:
    import torch

    from fervit.runs.session import prepare_process
    from fervit.training.data import epoch_batches
    from fervit.training.failure import failure_of
    from fervit.training.ranks import ALONE
    from fervit.training.trainer import Trainer

    splits = [ray.get(split) for split in latents]
    try:
        train, val = prepare_process(*splits, device=device, threads=threads, memory_share=memory_share)
        trainer = Trainer(config, train, val)
        trainer.model.train()
        rows = torch.arange(len(train), device=train.device)
        times: list[float] = []
        began = time.perf_counter()
        for batch in epoch_batches(trainer.config, 1, rows, torch.ones(len(train), device=train.device), ALONE):
            started = time.perf_counter()
            float(trainer.step(batch).loss)
            times.append(time.perf_counter() - started)
            if time.perf_counter() - began > MEASURED_S and len(times) > 2:
                break
    except Exception as error:
        return Pace(seconds_an_epoch=0.0, failure=failure_of(error, config.batch_size, torch.device(device)))
    steps = -(-len(train) // config.batch_size)
    forward = len(val) / len(train) / 3  # validation needs a third of the arithmetic of a training step
    return Pace(seconds_an_epoch=steps * statistics.median(times[1:] or times) * (1 + forward))
