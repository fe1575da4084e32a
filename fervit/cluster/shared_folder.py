"""Checks that all nodes of a cluster share a folder, since jobs would otherwise write to the disk of each node."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fervit.cluster.nodes import Node
from fervit.errors import UserError
from fervit.io.disk import remove
from fervit.io.files import first_line

WAIT_S = 180.0
"""The time in seconds within which a node must answer: its first process may read Python from a slow share."""
WAY_OUT = (
    "start the command in a folder that all nodes share under one path (NFS, EFS, Filestore; FERVIT_SHARE in the "
    "cluster's YAML)"
)


def check_shared(
    nodes: Sequence[Node], folder: Path | None, also: Callable[[], str] = lambda: "", way_out: str = WAY_OUT
) -> dict[str, str]:
    """Lets every running node write a file into the folder, and checks that it appears on this machine.

    Args:
        nodes: the nodes of the cluster that this process is connected to. Those that have yet to join are skipped.
        folder: the folder that jobs on any node will write to; None for no folder.
        also: a function to run on each node as well, which returns what it finds, or "".
        way_out: the advice of the error message.

    Returns:
        What `also` found, by the address of the node. Nodes where it found nothing are left out.

    Raises:
        UserError: a node does not answer, cannot write to the folder, or writes where this machine cannot see it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(_look)
    probes = {node: folder / f".probe-{uuid.uuid4().hex[:12]}" if folder else None for node in nodes if node.there}
    tasks = {
        node: look.options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
            name="look around",
        ).remote(probe, also)
        for node, probe in probes.items()
    }
    found = {}
    for node, probe in probes.items():
        written, other = _answer(tasks[node], node)
        seen = probe is None or probe.is_file()
        if probe is not None:
            remove(probe)
        if written or not seen:
            why = f"cannot write to {folder} ({written})" if written else f"writes to a disk of its own at {folder}"
            raise UserError(f"node {node.address}: {why}; {way_out}")
        if other:
            found[node.address] = other
    return found


def _answer(task: Any, node: Node) -> tuple[str, str]:
    """Waits for the result of `_look` on a node."""
    import ray

    try:
        answer: tuple[str, str] = ray.get(task, timeout=WAIT_S)
        return answer
    except ray.exceptions.GetTimeoutError:
        raise UserError(f"node {node.address}: does not answer within {WAIT_S:.0f} s; see `ray status`") from None
    except ray.exceptions.RayError as error:
        raise UserError(
            f"node {node.address}: cannot run fervit ({first_line(error)}); install the same version on every node"
        ) from None


def _look(probe: Path | None, also: Callable[[], str]) -> tuple[str, str]:
    """Writes a file and runs `also`; returns why the file could not be written, or "", and what `also` found."""
    try:
        if probe is not None:
            probe.write_text("a node can write here\n")
    except OSError as error:
        return first_line(error), ""
    return "", also()
