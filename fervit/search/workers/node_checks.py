"""What only the cluster's own nodes can say before a sweep: what they see of the disks, and how fast they train."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ray

from fervit.cluster.nodes import Node
from fervit.cluster.shared_folder import check_shared
from fervit.errors import UserError
from fervit.files import first_line
from fervit.latents.parts import encoder_in
from fervit.search.space.settings import TrialResources
from fervit.search.workers.worker_group import SharedLatents
from fervit.storage import child
from fervit.training.config import TrainConfig
from fervit.training.failure import PROCESS_DIED, Failure

MEASURED_S = 3.0
"""Of training for each configuration that is measured."""


def check_nodes(nodes: Sequence[Node], folder: Path, latents: str) -> list[str]:
    """Has every node write into the sweep's folder and look at the latents; returns remarks for the user.

    Trials write their checkpoints there themselves; the latents come to them through Ray, so a node that cannot read
    those is only told of.

    Raises:
        UserError: a node has a disk of its own there.
    """
    found = check_shared(nodes, folder, partial(_unreadable, latents))
    return [f"node {node} cannot read {latents} ({why}); it is sent the codes instead" for node, why in found.items()]


def _unreadable(latents: str) -> str:
    try:
        return "there are none" if encoder_in(child(latents, "train")) is None else ""
    except (OSError, UserError) as error:
        return first_line(error)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long a configuration takes, or why it cannot be trained."""

    seconds_an_epoch: float
    failure: Failure | None = None


def measure_pace(configs: Sequence[TrainConfig], latents: SharedLatents, resources: TrialResources) -> list[Pace]:
    """Trains each configuration for some seconds on what a trial gets, on whichever node has it free."""
    options = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
    threads, device = max(1, int(resources.cpus)), "cuda" if resources.gpus else "cpu"
    share = min(1.0, resources.gpus or 1.0)
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
    forward = len(val) / len(train) / 3  # validation is a third of a step's arithmetic for each row
    return Pace(seconds_an_epoch=steps * statistics.median(times[1:] or times) * (1 + forward))
