"""Where the encoders of a job run: how many, on which hardware, with which batch size and precision. No Ray."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fervit.cluster.nodes import Cluster
from fervit.encoding.plan import EncodePlan
from fervit.errors import UserError
from fervit.hardware import cpu_has_bfloat16, device_of

PARTS_AN_ACTOR = 4
"""At least, where several encode side by side."""


HELPER_CPUS = 0.5
"""Of a CPU, for a task that decodes or writes."""


BATCH_SIZE = {"cpu": 4, "cuda": 64}


PART_ROWS = {"cpu": 32, "cuda": 512}
"""Faces in one part file, about: some 15 s of a full-size network's work on a small CPU."""


PART_ROWS_DEMO = 128


WITHOUT_BFLOAT16 = ("K80", "P4", "P100", "T4", "V100")
"""GPUs that have to emulate bfloat16."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the encoders run, and how."""

    device: str
    """"cpu" or "cuda"."""
    actors: int
    cpus: float
    """Of an actor."""
    gpus: float
    """Of an actor."""
    threads: int
    """Of an actor that computes on the CPU."""
    batch_size: int
    part_rows: int
    precision: str
    reason: str
    """Why that precision."""
    all_there: bool = True
    """No node has to join first."""

    def __str__(self) -> str:
        where = f"{self.gpus:g} GPU each" if self.gpus else f"CPU, {self.threads} threads each"
        encoders = f"{self.actors} encoder{'s' if self.actors > 1 else ''}"
        return f"{encoders} ({where}), batches of {self.batch_size}, {self.precision} ({self.reason})"


def place(
    plan: EncodePlan,
    cluster: Cluster,
    *,
    actors: int | None = None,
    gpus_per_actor: float | None = None,
    batch_size: int | None = None,
) -> Placement:
    """Finds room for the encoders.

    Args:
        plan: from `plan_encoding`.
        cluster: what there is.
        actors: encoders side by side; None for one a GPU, or one a node on CPUs, if there is work for so many.
        gpus_per_actor: share of a GPU; None for one where the cluster has any, else 0.
        batch_size: faces that go through the network at once; None for a default that suits the hardware.

    Raises:
        UserError: the actors can never be placed.
    """
    from fervit.encoders.runner import MAX_WORKERS

    largest = max(node.gpus for node in cluster.nodes)
    gpus = min(1.0, largest) if gpus_per_actor is None else gpus_per_actor
    if not 0 <= gpus <= largest:
        raise UserError(f"--gpus_per_actor {gpus:g}: the largest node has {largest:g} GPUs; ask for no more")
    if gpus > 1 and gpus != int(gpus):
        raise UserError(f"--gpus_per_actor {gpus:g}: must be a share of one GPU or a whole number of them")
    device = device_of(gpus)
    batch_size = batch_size or BATCH_SIZE[device]
    worthwhile = max(1, len(plan) // (PARTS_AN_ACTOR * batch_size))
    if gpus:
        most, there = (
            sum(int(node.gpus) * int(1 / gpus) if gpus <= 1 else int(node.gpus / gpus) for node in nodes)
            for nodes in (cluster.nodes, cluster.there)
        )
        actors = actors or min(most, max(there, worthwhile))  # no machine joins for a handful of faces
        if actors > most:
            raise UserError(f"--actors {actors}: the cluster has room for {most} with {gpus:g} GPU each; ask for fewer")
    nodes = [node for node in cluster.nodes if node.cpus]
    if not nodes:
        raise UserError("the cluster has no CPUs, and no machine with some can join; see `ray status`")
    actors = actors or min(len(nodes), worthwhile)
    # Rounded down: what is left on a node must hold a task that decodes, or nothing would ever start.
    a_node = -(-actors // len(nodes))
    cpus = min(1, math.floor((min(node.cpus for node in nodes) - HELPER_CPUS) / a_node * 100) / 100)
    if cpus <= 0:
        raise UserError(f"--actors {actors}: the cluster has {cluster.cpus:g} CPUs; ask for fewer actors")
    threads = max(1, int(min(cluster.cpus / actors, max(node.cpus for node in cluster.nodes))))
    wanted = PART_ROWS_DEMO if plan.fingerprint.get("untrained") and device == "cpu" else PART_ROWS[device]
    # Whole batches, and on a CPU one for each that runs side by side.
    together = batch_size * (min(threads, MAX_WORKERS) if device == "cpu" else 1)
    if actors > 1:  # parts for all of them, so that none stands idle for long at the end
        wanted = min(wanted, -(-len(plan) // (PARTS_AN_ACTOR * actors)))
    precision, reason = choose_precision(plan, cluster, device)
    return Placement(
        device=device,
        actors=actors,
        cpus=cpus,
        gpus=gpus,
        threads=threads,
        batch_size=batch_size,
        part_rows=-(-wanted // together) * together,
        precision=precision,
        reason=reason,
        all_there=len(cluster.there) == len(cluster.nodes),
    )


def choose_precision(plan: EncodePlan, cluster: Cluster, device: str) -> tuple[str, str]:
    chosen: str | None = plan.fingerprint.get("precision")
    if plan.encoder is not None and plan.encoder.precision:
        return plan.encoder.precision, "as asked for"
    if chosen:
        return chosen, "as the codes that are there"
    if device == "cuda":
        old = sorted({node.gpu_type for node in cluster.nodes if node.gpu_type in WITHOUT_BFLOAT16})
        return ("float32", f"{old[0]} has no bfloat16") if old else ("bfloat16", "the GPU's fast format")
    if cpu_has_bfloat16():
        return "bfloat16", "this CPU has it; --precision float32 is exact and takes twice as long"
    return "float32", "this CPU has no bfloat16"
