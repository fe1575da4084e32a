"""Looks at the GPUs of a Ray cluster before anything is placed on them.

    python -m fervit.cluster.gpu_look          looks at the GPU of this machine before it joins a cluster (node.sh)

It prints a line, and its exit status is 1 if Ray would count a GPU here that torch cannot use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from fervit.cluster.connection import free_nodes
from fervit.cluster.gpus import GpuFacts, GpuLook, look_here, problem_of
from fervit.cluster.nodes import Cluster, Node
from fervit.io.files import first_line
from fervit.system.hardware import FORCED_DEVICE

SHARE = 0.01
"""The share of a GPU that a look reserves: it fits beside work that leaves so much."""
RETURN_S = 3.0
"""The seconds within which Ray counts that share as free again, after the look."""
WAIT_S = 180.0
"""The seconds within which a look must end, on a machine that is busy with other things as well."""


def look_at_gpus(cluster: Cluster, look: Callable[[], GpuFacts] = look_here) -> GpuLook:
    """Looks at a GPU of each running node that has some, in a Ray task on that node, at all nodes at once.

    Nodes whose GPUs are all taken are not looked at, since somebody uses them.

    Args:
        cluster: the cluster that this process is connected to.
        look: the look, which runs on the node.

    Returns:
        What was found; nothing if the device is forced (FERVIT_DEVICE) or no node has a GPU.
    """
    if os.environ.get(FORCED_DEVICE):
        return GpuLook.none(cluster)
    free = {node.node_id: node.gpus for node in free_nodes()}
    found = answers(cluster.there, free, look)
    deadline = time.monotonic() + RETURN_S
    # Ray keeps the share for a moment, and who looks for free GPUs then would find one that is not whole.
    while found and any(node.gpus < free.get(node.node_id, 0) for node in free_nodes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return GpuLook.of(cluster, found)


def answers(
    nodes: Iterable[Node], free: dict[str, float], look: Callable[[], GpuFacts] = look_here
) -> dict[str, GpuFacts | str]:
    """Looks at nodes, and returns for each address what was found, or why the look failed.

    Args:
        nodes: the nodes. Those without GPUs are skipped.
        free: the free GPUs of each node, by its id.
        look: the look.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(look)
    asked = {
        node.address: task.options(
            num_cpus=0,
            num_gpus=SHARE,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
            name="look at the GPU",
        ).remote()
        for node in nodes
        if node.gpus and free.get(node.node_id, 0) >= SHARE
    }
    if asked:
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=WAIT_S)
    return {address: _answer(task) for address, task in asked.items()}


def _answer(task: Any) -> GpuFacts | str:
    import ray

    try:
        facts: GpuFacts = ray.get(task, timeout=0)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(task, force=True)
        return f"it gave no answer within {WAIT_S:.0f} s; see `nvidia-smi` there"
    except ray.exceptions.RayError as error:
        return f"a look at it failed ({first_line(error)}); see `nvidia-smi` there"
    return facts


def counted_here() -> float:
    """The GPUs that Ray would count on this machine: those of the autoscaler's node type, or those of the driver."""
    override = os.environ.get("RAY_OVERRIDE_RESOURCES")
    if override:
        return float(json.loads(override).get("GPU", 0))
    from ray._private.accelerators import NvidiaGPUAcceleratorManager as Nvidia

    counted, visible = Nvidia.get_current_node_num_accelerators(), os.environ.get("CUDA_VISIBLE_DEVICES")
    named = counted if visible is None else len([name for name in visible.split(",") if name])
    return float(min(counted, named))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=float, help="that Ray will count here; left out: those that it would find")
    args = parser.parse_args()
    if not (counted_here() if args.gpus is None else args.gpus):
        return
    facts = look_here()
    problem = problem_of(facts)
    print(f"GPU: {problem or facts}", file=sys.stderr if problem else sys.stdout)
    sys.exit(1 if problem else 0)


if __name__ == "__main__":
    main()
