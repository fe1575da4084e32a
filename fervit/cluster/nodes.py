"""The nodes of a Ray cluster: those that are running, and those that its autoscaler may add."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import yaml

NODE_GROUP = "ray.io/node-group"
"""The label of a Ray node that names its type in the YAML of `ray up`."""
NODE_ID = "ray.io/node-id"
"""The label with which Ray marks each node by its id."""
NODE_TYPES = "FERVIT_NODE_TYPES"
"""The environment variable that lists the types of nodes that an autoscaler may add (see `may_join`)."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of the cluster, with what it offers to tasks."""

    address: str
    """Its IP address; for a node that has yet to join, its type and a number."""
    cpus: float
    gpus: float
    gpu_type: str | None = None
    """The type of its GPUs as Ray names it, such as H100."""
    node_id: str = ""
    """Ray's id of the node."""
    there: bool = True
    """Whether the node is running. If not, an autoscaler would start it for a task that waits for it."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray cluster that this process is connected to."""

    nodes: tuple[Node, ...]
    """The running nodes, then those that its autoscaler may add."""
    dashboard: str | None
    """The address of its dashboard, such as http://127.0.0.1:8265; None where it has none."""
    started_here: bool
    """Whether it is a local Ray that this process has started, and that ends with it."""
    unusable: tuple[str, ...] = ()
    """Ray's ids of the nodes whose GPUs torch cannot use (`fervit.cluster.gpus`); they count as nodes without GPUs."""

    def __str__(self) -> str:
        n = len(self.there)
        joining = f", with the {len(self.nodes) - n} that can join" if len(self.nodes) > n else ""
        return f"{n} node{'s' if n > 1 else ''}{joining}, {self.cpus:g} CPUs, {self.gpus:g} GPUs"

    @property
    def watch(self) -> str:
        """How the user gets to the dashboard, which listens only on the loopback address of the head node."""
        if self.dashboard is None:
            return "no Ray dashboard"
        if len(self.nodes) == 1:
            return f"{self.dashboard}"
        return f"{self.dashboard} on the head (`ray dashboard CLUSTER.yaml` brings it to your machine)"

    @property
    def there(self) -> tuple[Node, ...]:
        """The nodes that are running."""
        return tuple(node for node in self.nodes if node.there)

    @property
    def cpus(self) -> float:
        """The CPUs of all nodes, including those that may join."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """The GPUs of all nodes, including those that may join."""
        return sum(node.gpus for node in self.nodes)


def not_on(nodes: Iterable[str]) -> dict[str, str]:
    """The label selector of Ray that keeps tasks and actors off some nodes; an empty one for no nodes.

    Args:
        nodes: Ray's ids of these nodes.
    """
    ids = sorted(nodes)
    return {NODE_ID: f"!in({', '.join(ids)})"} if ids else {}


def may_join(alive: Mapping[str, int], types: str) -> Iterator[Node]:
    """Yields the nodes that an autoscaler may add.

    Args:
        alive: the number of running nodes of each type.
        types: YAML or JSON that maps each type to its `resources` and `max_workers`, as in the YAML of `ray up`; "" for
            none. Ray does not publish them, so whoever starts the head sets FERVIT_NODE_TYPES, which jobs inherit.
    """
    for name, group in (yaml.safe_load(types) or {}).items():
        resources = group.get("resources", {})
        if not resources.get("CPU") and not resources.get("GPU"):
            continue  # no task could run on it
        for i in range(alive.get(name, 0), group.get("max_workers", 0)):
            yield Node(
                address=f"{name} {i}",
                cpus=resources.get("CPU", 0),
                gpus=resources.get("GPU", 0),
                gpu_type=gpu_type(resources),
                there=False,
            )


def gpu_type(resources: Mapping[str, float]) -> str | None:
    """The type of the GPUs among the resources of a Ray node, such as H100; None without GPUs."""
    prefix = "accelerator_type:"
    return next((name.removeprefix(prefix) for name in resources if name.startswith(prefix)), None)
