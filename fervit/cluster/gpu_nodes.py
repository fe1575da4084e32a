"""The nodes of a cluster while a job runs on it: some may join, and their GPUs may turn out to be unusable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fervit.cluster.connection import cluster_nodes
from fervit.cluster.gpus import place_in_words
from fervit.cluster.nodes import Node
from fervit.progress import Say, silent


class GpuNodes:
    """The nodes of the cluster that this process is connected to, and which of them have GPUs that cannot be used.

    Args:
        unusable: Ray's ids of the nodes whose GPUs cannot be used, as the look before the job has found them.
        say: prints a line for the user.
    """

    def __init__(self, unusable: Iterable[str] = (), say: Say | None = None) -> None:
        self.unusable = set(unusable)
        self.say = say or silent
        """Prints a line for the user."""

    def nodes(self) -> tuple[Node, ...]:
        """The running nodes and those that may join; GPUs that cannot be used do not count."""
        return self.usable(cluster_nodes())

    def usable(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        """Returns nodes without the GPUs that cannot be used."""
        return tuple(replace(node, gpus=0) if node.node_id in self.unusable else node for node in nodes)

    def leave_out(self, error: str) -> bool:
        """Leaves out the node of which an `UnusableGpuError` tells.

        If no GPU were left, the nodes stay as they are: what fails then says why.

        Args:
            error: the text of the error, whatever Ray has written around it.

        Returns:
            Whether a node has been left out.
        """
        nodes = self.nodes()
        for node in nodes:
            _, found, problem = error.rpartition(place_in_words(node.address))
            if node.gpus and found and any(other.gpus for other in nodes if other.node_id != node.node_id):
                self.unusable.add(node.node_id)
                self.say(f"{place_in_words(node.address)}{problem.splitlines()[0]}; that GPU is left out")
                return True
        return False
