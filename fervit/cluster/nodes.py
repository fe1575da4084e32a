"""The nodes of a Ray cluster: those that are up, and those that its autoscaler may add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

NODE_GROUP = "ray.io/node-group"
"""Label with a node's type in the YAML of `ray up`."""
NODE_TYPES = "FERVIT_NODE_TYPES"


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one machine of the cluster offers to tasks."""

    address: str
    cpus: float
    gpus: float
    gpu_type: str | None = None
    """As Ray names it, such as H100."""
    node_id: str = ""
    there: bool = True
    """False for one that an autoscaler would start if something waited for it."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray cluster that this process is connected to."""

    nodes: tuple[Node, ...]
    """Those that are there, then those that its autoscaler may add."""
    dashboard: str | None
    """Its address, such as http://127.0.0.1:8265."""
    started_here: bool
    """A local Ray of this process, which ends with it."""

    def __str__(self) -> str:
        n = len(self.there)
        joining = f", with the {len(self.nodes) - n} that can join" if len(self.nodes) > n else ""
        return f"{n} node{'s' if n > 1 else ''}{joining}, {self.cpus:g} CPUs, {self.gpus:g} GPUs"

    @property
    def watch(self) -> str:
        """How to see the dashboard, which listens on the head's loopback alone."""
        if len(self.nodes) == 1:
            return f"{self.dashboard}"
        return f"{self.dashboard} on the head (`ray dashboard CLUSTER.yaml` brings it to your machine)"

    @property
    def there(self) -> tuple[Node, ...]:
        """The nodes that are up now."""
        return tuple(node for node in self.nodes if node.there)

    @property
    def cpus(self) -> float:
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        return sum(node.gpus for node in self.nodes)


def may_join(alive: Mapping[str, int], types: str) -> Iterator[Node]:
    """The nodes that an autoscaler may add.

    Args:
        alive: how many nodes of each type there are.
        types: YAML or JSON, a type -> its `resources` and `max_workers`, as in the YAML of `ray up`; "" for none. Ray
            itself tells nobody, so whoever starts the head says it in FERVIT_NODE_TYPES, which jobs inherit.
    """
    for name, group in (yaml.safe_load(types) or {}).items():
        resources = group.get("resources", {})
        if not resources.get("CPU") and not resources.get("GPU"):
            continue  # it brings nothing that could be used
        for i in range(alive.get(name, 0), group.get("max_workers", 0)):
            yield Node(
                address=f"{name} {i}",
                cpus=resources.get("CPU", 0),
                gpus=resources.get("GPU", 0),
                gpu_type=gpu_type(resources),
                there=False,
            )


def gpu_type(resources: Mapping[str, float]) -> str | None:
    prefix = "accelerator_type:"
    return next((name.removeprefix(prefix) for name in resources if name.startswith(prefix)), None)
