"""What a cluster costs the driver: many fake nodes on this machine, each a real raylet, with trials that do nothing.

Measured with the trials that all nodes hold at once (two a node), and compared with a fifth of the nodes:
    driver CPU a trial            the floor is the same sweep on one node with two slots, measured first
    free slot to first report     from the end of a trial to the first report of the next one in the same process

The fake nodes share this machine's cores: starting them is not measured, their own work stands beside the driver's.

    python -m benchmarks.cluster --nodes 10 50
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.instant import Ran, run_instant
from benchmarks.sweep import SPACE
from fervit.cli import Parser, positive_int, run
from fervit.cluster import connect
from fervit.search.space_file import parse_space

SLOTS = 2
"""Of each node."""
ROUNDS = 5
"""Trials that follow each other in a slot."""
SECONDS = 12.0
"""From a trial's first report to its last; so long a slot is not free."""
STORE = 80 * 1024**2


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--nodes", type=positive_int, nargs="+", default=[10, 50], help="fake nodes, in turn")
    args = parser.parse()
    with tempfile.TemporaryDirectory() as name, connect("local", Path(name) / "ray.log"):
        report(1, run_instant(space(SLOTS), Path(name, "sweep"), SECONDS))
    for nodes in args.nodes:
        report(nodes, measure(nodes))


def space(slots: int) -> Any:
    search = {"sampler": "tpe", "trials": slots * ROUNDS, "seed": 5}
    never = {"scheduler": "none", "max_epochs": 2, "grace_epochs": 1}
    return parse_space({**SPACE, "search": search, "early_stopping": never}, "benchmark")


def measure(nodes: int) -> Ran:
    """A sweep on so many fake nodes."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    )
    try:
        for _ in range(nodes):
            cluster.add_node(wait=False, num_cpus=SLOTS, object_store_memory=STORE, include_dashboard=False)
        cluster.wait_for_nodes(timeout=600)
        with tempfile.TemporaryDirectory() as name:
            ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
            with connect(None, Path(name) / "ray.log"):
                return run_instant(space(nodes * SLOTS), Path(name, "sweep"), SECONDS)
    finally:
        ray.shutdown()
        cluster.shutdown()


def report(nodes: int, ran: Ran) -> None:
    trials = len(ran.ledger.records)
    epochs = [event for event in ran.events if event["event"] == "epoch"]
    ends: dict[tuple[str, int], float] = {}
    waits, most, now = [], 0, set()
    for event in ran.events:
        if event["event"] == "epoch" and not event["finished"]:
            now.add(event["name"])
            slot = (event["node"], event["pid"])
            if slot in ends:
                waits.append(event["time"] - ends.pop(slot))
        elif event["event"] == "epoch":
            ends[event["node"], event["pid"]] = event["time"]
        elif event["event"] == "end":
            now.discard(event["name"])
        most = max(most, len(now))
    told = epochs[-1]["time"] - epochs[0]["time"]
    print(
        f"{nodes} node{'s' if nodes > 1 else ''}, {most} trials in flight, {trials} in all over {told:.0f} s: driver "
        f"{1000 * ran.cpu / trials:.0f} ms of CPU a trial ({1000 * ran.cpu / len(epochs):.0f} a report, "
        f"{100 * ran.cpu / ran.wall:.0f} % of a core)",
        flush=True,
    )
    if waits:
        parts = statistics.quantiles(waits, n=20)
        print(
            f"    free slot to first report, {len(waits)} times: median {1000 * parts[9]:.0f} ms, 95 % "
            f"{1000 * parts[18]:.0f} ms, most {1000 * max(waits):.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    run(main)
