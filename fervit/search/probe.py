"""What only the cluster's own nodes can say before a sweep: what they see of the disks, and how fast they train."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fervit.cluster import Node
from fervit.errors import UserError
from fervit.files import first_line
from fervit.latents.parts import encoder_in
from fervit.search.settings import TrialResources
from fervit.search.team import SharedLatents
from fervit.storage import child
from fervit.training.config import TrainConfig

WAIT_S = 60.0
MEASURED_S = 3.0
"""Of training for each configuration that is measured."""


def check_nodes(nodes: Sequence[Node], folder: Path, latents: str) -> list[str]:
    """Has every node write into the sweep's folder and look at the latents; returns remarks for the user.

    Trials write their checkpoints there themselves; the latents come to them through Ray, so a node that cannot read
    those is only told of.

    Raises:
        UserError: what a node wrote is not seen here.
    """
    names = {node.node_id: f".probe-{uuid.uuid4().hex[:12]}" for node in nodes}
    started = {
        node.node_id: _look.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        ).remote(str(folder / names[node.node_id]), latents)
        for node in nodes
    }
    remarks = []
    for node in nodes:
        written, read = _answer(started[node.node_id], node)
        probe = folder / names[node.node_id]
        seen = probe.is_file()
        probe.unlink(missing_ok=True)
        if written or not seen:
            raise UserError(
                f"node {node.address}: cannot write to {folder} ({written or 'what it wrote there is not seen here'}); "
                "start tune.py in a folder that all nodes share under the same path"
            )
        if read:
            remarks.append(f"node {node.address} cannot read {latents} ({read}); it is sent the codes instead")
    return remarks


def _answer(task: Any, node: Node) -> tuple[str, str]:
    try:
        answer: tuple[str, str] = ray.get(task, timeout=WAIT_S)
        return answer
    except ray.exceptions.GetTimeoutError:
        raise UserError(f"node {node.address}: does not answer within {WAIT_S:.0f} s; see `ray status`") from None
    except ray.exceptions.RayError as error:
        raise UserError(
            f"node {node.address}: cannot run fervit ({first_line(error)}); install the same version on every node"
        ) from None


@ray.remote  # type: ignore[untyped-decorator]
def _look(probe: str, latents: str) -> tuple[str, str]:
    """("" or why the file could not be written, "" or why the latents could not be read)."""
    written = read = ""
    try:
        Path(probe).write_text("a node can write here\n")
    except OSError as error:
        written = first_line(error)
    try:
        if encoder_in(child(latents, "train")) is None:
            read = "there are none"
    except (OSError, UserError) as error:
        read = first_line(error)
    return written, read


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long a configuration takes."""

    seconds_an_epoch: float
    failure: str = ""


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
            paces.append(Pace(seconds_an_epoch=0.0, failure=f"process died: {first_line(error)}"))
    return paces


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def _pace(config: TrainConfig, latents: SharedLatents, threads: int, device: str, memory_share: float) -> Pace:
    import torch

    from fervit.search.team import describe
    from fervit.training.data import DeviceLatents, epoch_batches
    from fervit.training.ranks import ALONE
    from fervit.training.trainer import Trainer

    torch.set_num_threads(threads)
    if device == "cuda" and memory_share < 1:
        torch.cuda.set_per_process_memory_fraction(memory_share)
    try:
        train, val = (DeviceLatents(ray.get(ref), device) for ref in latents)
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
        return Pace(seconds_an_epoch=0.0, failure=describe(error))
    steps = -(-len(train) // config.batch_size)
    forward = len(val) / len(train) / 3  # validation is a third of a step's arithmetic for each row
    return Pace(seconds_an_epoch=steps * statistics.median(times[1:] or times) * (1 + forward))
