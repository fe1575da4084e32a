"""Chooses where the encoders of a job run: how many, on which hardware, with which batch size and precision. No Ray."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fervit.cluster.gpus import GIB, GpuFacts
from fervit.cluster.nodes import Cluster, Node
from fervit.encoding.plan import EncodePlan
from fervit.errors import UserError
from fervit.system.hardware import device_of, encoder_precision, per_gpu, usable_memory

PARTS_AN_ACTOR = 4
"""Where several actors encode side by side, each gets at least this many part files to make."""
HELPER_CPUS = 0.5
"""The CPUs that a task takes that decodes pictures or writes codes."""
BATCH_SIZE = {"cpu": 4, "mps": 16, "cuda": 64}
PART_ROWS = {"cpu": 32, "mps": 64, "cuda": 512}
"""The approximate number of faces in a part file: about 15 s of work of a full-size network on a small CPU."""
PART_ROWS_DEMO = 128
CHANNELS = 64
"""The channels of the encoders' first layers, whose pictures are as large as those of the input."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the encoders run, and how. Ray calls the processes that hold an encoder actors."""

    device: str
    """"cpu", "cuda", or "mps", the GPU of a Mac, which Ray does not count."""
    actors: int
    """The number of encoders side by side."""
    cpus: float
    """The CPUs that Ray reserves for each actor."""
    gpus: float
    """The GPUs that Ray reserves for each actor; less than one for a share of a GPU."""
    threads: int
    """The threads that each actor computes with on a CPU."""
    batch_size: int
    """The number of faces that go through the network at once."""
    part_rows: int
    """The number of faces in a part file."""
    precision: str
    """"float32", "bfloat16" or "float16"."""
    reason: str
    """Why it is that precision, for the user."""
    all_there: bool = True
    """Whether all nodes are running, so that none has to join the cluster first."""
    avoid: tuple[str, ...] = ()
    """Ray's ids of the nodes whose GPUs cannot be used."""

    def __str__(self) -> str:
        where = f"{self.gpus:g} GPU each" if self.gpus else f"CPU, {self.threads} threads each"
        if self.device == "mps":
            where = "this Mac's GPU"
        encoders = f"{self.actors} encoder{'s' if self.actors > 1 else ''}"
        return f"{encoders} ({where}), batches of {self.batch_size}, {self.precision} ({self.reason})"


def place(
    plan: EncodePlan,
    cluster: Cluster,
    *,
    actors: int | None = None,
    gpus_per_actor: float | None = None,
    batch_size: int | None = None,
    seen: Sequence[GpuFacts] = (),
) -> Placement:
    """Chooses where the encoders of a job run, and how.

    Args:
        plan: from `plan_encoding`.
        cluster: the nodes that are running or may join; GPUs that cannot be used do not count (`GpuLook.cluster`).
        actors: the number of encoders side by side; None for one on each GPU, or one on each node without GPUs, as far
            as there is work for so many.
        gpus_per_actor: the GPUs of each actor, possibly a share of one; None for one if the cluster has any, else 0.
        batch_size: faces that go through the network at once; None for a default that suits the hardware.
        seen: the GPUs that were looked at and can be used.

    Raises:
        UserError: the cluster can never hold these actors, or their GPUs lack the precision or the memory.
    """
    gpus = _gpus_per_actor(cluster, gpus_per_actor)
    device = device_of(gpus)
    if device == "cpu" and gpus_per_actor is None and _is_this_mac(cluster):
        device = "mps"
    batch_size = batch_size or BATCH_SIZE[device]
    worthwhile = max(1, len(plan) // (PARTS_AN_ACTOR * batch_size))
    if gpus:
        actors = _actors_on_gpus(cluster, gpus, actors, worthwhile)
    nodes = [node for node in cluster.nodes if node.cpus]
    if not nodes:
        raise UserError("the cluster has no CPUs, and no machine with some can join; see `ray status`")
    actors = actors or min(len(nodes), worthwhile)
    cpus = _cpus_per_actor(cluster, nodes, actors)
    threads = max(1, int(min(cluster.cpus / actors, max(node.cpus for node in cluster.nodes))))
    precision, reason = choose_precision(plan, device, seen)
    _check_memory(plan, batch_size, precision, _memories(device, cluster, seen))
    return Placement(
        device=device,
        actors=actors,
        cpus=cpus,
        gpus=gpus,
        threads=threads,
        batch_size=batch_size,
        part_rows=_part_rows(plan, device, actors, threads, batch_size),
        precision=precision,
        reason=reason,
        all_there=len(cluster.there) == len(cluster.nodes),
        avoid=cluster.unusable if gpus else (),
    )


def choose_precision(plan: EncodePlan, device: str, seen: Sequence[GpuFacts]) -> tuple[str, str]:
    """Chooses the precision of the encoder: what the user asked for, what the folder holds, or what the hardware suits.

    Args:
        plan: from `plan_encoding`.
        device: "cpu", "cuda" or "mps".
        seen: the GPUs that a look has found; none if nobody has seen them.

    Returns:
        The precision, and the reason for it in a few words.

    Raises:
        UserError: the user asked for a precision that a GPU does not have.
    """
    asked = plan.encoder.precision if plan.encoder is not None else None
    if asked:
        lacking = [facts for facts in seen if not facts.has_bfloat16] if asked == "bfloat16" else []
        if device == "cuda" and lacking:
            raise UserError(
                f"--precision {asked}: {_without_bfloat16(lacking[0])}; give float32, or leave the precision out"
            )
        return asked, "as asked for"
    if plan.fingerprint.precision:
        slow = [facts for facts in seen if not facts.has_bfloat16] if plan.fingerprint.precision == "bfloat16" else []
        remark = f", and slow here: {_without_bfloat16(slow[0])}" if device == "cuda" and slow else ""
        return plan.fingerprint.precision, f"as the codes that are there{remark}"
    return encoder_precision(device, min((facts.capability for facts in seen), default=None))


def _is_this_mac(cluster: Cluster) -> bool:
    """Whether the only node is this machine, and a Mac whose GPU PyTorch can use."""
    from fervit.system.gpu import has_mps

    return cluster.started_here and len(cluster.nodes) == 1 and has_mps()


def _without_bfloat16(facts: GpuFacts) -> str:
    major, minor = facts.capability
    return f"{facts.name} (compute capability {major}.{minor}) has no bfloat16"


def _memories(device: str, cluster: Cluster, seen: Sequence[GpuFacts]) -> dict[str, int]:
    """The name of each device that is known to encode -> its memory in bytes."""
    if device == "cuda":
        return {facts.name: facts.memory for facts in seen}
    return {"this machine": usable_memory()} if cluster.started_here else {}


def _check_memory(plan: EncodePlan, batch_size: int, precision: str, memories: Mapping[str, int]) -> None:
    """Refuses a batch of which not even the input and output of the first layer fit into a device's memory."""
    if not memories:
        return
    name, memory = min(memories.items(), key=lambda item: item[1])
    channels = 3 if plan.fingerprint.untrained else CHANNELS
    needed = 2 * batch_size * channels * plan.fingerprint.input_size**2 * (4 if precision == "float32" else 2)
    if needed > memory:
        raise UserError(
            f"--batch_size {batch_size}: takes more than {needed / GIB:.0f} GiB, and {name} has {memory / GIB:.0f}; "
            "give a smaller one, or leave it out"
        )


def _gpus_per_actor(cluster: Cluster, asked: float | None) -> float:
    """The GPUs of each actor, checked against the largest node."""
    largest = max(node.gpus for node in cluster.nodes)
    if asked is None:
        return min(1.0, largest)
    if asked > 1:
        raise UserError(f"--gpus_per_actor {asked:g}: an encoder computes on one GPU; give 1, a share of one, or 0")
    if not 0 <= asked <= largest:
        raise UserError(f"--gpus_per_actor {asked:g}: the largest node has {largest:g} GPUs; ask for no more")
    return asked


def _actors_on_gpus(cluster: Cluster, gpus: float, asked: int | None, worthwhile: int) -> int:
    """The number of actors with `gpus` GPUs each; `worthwhile` is how many the job has work for."""
    most, running = (_room(nodes, gpus) for nodes in (cluster.nodes, cluster.there))
    actors = asked or min(most, max(running, worthwhile))  # a few faces do not make a machine join
    if actors > most:
        raise UserError(f"--actors {actors}: the cluster has room for {most} with {gpus:g} GPU each; ask for fewer")
    return actors


def _room(nodes: Sequence[Node], gpus: float) -> int:
    """The number of actors with `gpus` GPUs each that fit on some nodes."""
    return sum(int(node.gpus) * per_gpu(gpus) for node in nodes)


def _cpus_per_actor(cluster: Cluster, nodes: Sequence[Node], actors: int) -> float:
    """The CPUs that Ray reserves for each actor, at most one."""
    # It is rounded down, since each node must keep room for a task that decodes, or nothing would ever start.
    actors_a_node = -(-actors // len(nodes))
    cpus = min(1, math.floor((min(node.cpus for node in nodes) - HELPER_CPUS) / actors_a_node * 100) / 100)
    if cpus <= 0:
        raise UserError(f"--actors {actors}: the cluster has {cluster.cpus:g} CPUs; ask for fewer actors")
    return cpus


def _part_rows(plan: EncodePlan, device: str, actors: int, threads: int, batch_size: int) -> int:
    """The number of faces in a part file: whole batches, and on a CPU one for each batch that runs side by side."""
    from fervit.encoders.runner import MAX_WORKERS

    wanted = PART_ROWS_DEMO if plan.fingerprint.untrained and device == "cpu" else PART_ROWS[device]
    at_once = batch_size * (min(threads, MAX_WORKERS) if device == "cpu" else 1)
    if actors > 1:  # small enough that all actors have work until shortly before the end
        wanted = min(wanted, -(-len(plan) // (PARTS_AN_ACTOR * actors)))
    return -(-wanted // at_once) * at_once
