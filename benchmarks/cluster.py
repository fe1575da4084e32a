"""What a cluster costs the driver: many fake nodes on this machine, each a real raylet, with trials that do nothing.

Measured with the trials that all nodes hold at once (two a node), and compared with a fifth of the nodes:
    driver CPU a trial            the floor is the same sweep on one node with two slots, measured first
    free slot to first report     from the end of a trial to the first report of the next one in the same process

The fake nodes share this machine's cores: starting them is not measured, their own work stands beside the driver's.

    python -m benchmarks.cluster --nodes 10 50
    python -m benchmarks.cluster --parts 2000       # what an encoding job reads before it goes on: ids of so many files
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.instant import Ran, run_instant
from benchmarks.sweep import SPACE
from fervit.cli import Parser, positive_int, run
from fervit.cluster.connection import connect
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.encoding.placement import PART_ROWS
from fervit.latents.parts import read_split, write_part
from fervit.latents.schema import schema, table
from fervit.search.records.events import EpochEnded, TrialEnded
from fervit.search.space.space_file import parse_space

SLOTS = 2
"""The number of trials that run at once on each node."""
ROUNDS = 5
"""The number of trials that run one after the other in each slot."""
SECONDS = 12.0
"""The seconds from a trial's first report to its last. All processes must start within this time, since otherwise the
first trials end before all slots have a trial."""
STORE = 80 * 1024**2


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--nodes", type=positive_int, nargs="+", default=[10, 50], help="fake nodes, in turn")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="from a trial's first report to its last")
    parser.add_argument("--parts", type=positive_int, help="measure the look at so many part files instead")
    args = parser.parse()
    # A hundred processes take longer than a minute to start on two cores, after which Ray would start them again.
    os.environ["RAY_worker_register_timeout_seconds"] = "900"  # noqa: SIM112  (Ray spells it so)
    if args.parts:
        parts(args.parts)
        return
    with tempfile.TemporaryDirectory() as name, connect("local", Path(name) / "ray.log"):
        report(1, run_instant(space(SLOTS), Path(name, "sweep"), args.seconds))
    for nodes in args.nodes:
        report(nodes, measure(nodes, args.seconds))


def space(slots: int) -> Any:
    search = {"sampler": "tpe", "trials": slots * ROUNDS, "seed": 5}
    never = {"scheduler": "none", "max_epochs": 2, "grace_epochs": 1}
    return parse_space({**SPACE, "search": search, "early_stopping": never}, "benchmark")


def measure(nodes: int, seconds: float) -> Ran:
    """Runs a sweep on this many fake nodes, and measures it."""
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
                return run_instant(space(nodes * SLOTS), Path(name, "sweep"), seconds)
    finally:
        ray.shutdown()
        cluster.shutdown()


def parts(n: int) -> None:
    """Measures how long a resumed encoding job reads the existing parts, which have the size that GPUs write."""
    rows, codes = PART_ROWS["cuda"], np.zeros((PART_ROWS["cuda"], 1, 1), np.float16)
    encoder = EncoderFingerprint(encoder="nothing", checkpoint_sha256="", seq_len=1, latent_dim=1)
    with tempfile.TemporaryDirectory() as folder:
        for part in range(n):
            ids = [f"train/happy/{part * rows + i:09d}.png" for i in range(rows)]
            write_part(table(ids, np.full(rows, 3), ids, codes, schema(encoder)), folder, ids)
        started = time.perf_counter()
        _, columns = read_split(folder, ["image_id"])
        seconds = time.perf_counter() - started
    print(
        f"{n} parts of {rows} faces: their {len(columns):,} ids in {seconds:.2f} s, {1000 * seconds / n:.2f} ms a "
        f"part, {columns.nbytes / len(columns):.0f} bytes of memory a face"
    )


def report(nodes: int, ran: Ran) -> None:
    trials = len(ran.ledger.records)
    epochs = [event for event in ran.events if isinstance(event, EpochEnded)]
    ends: dict[tuple[str, int], float] = {}
    waits: list[tuple[float, float]] = []
    most, full, now = 0, 0.0, set()
    for event in ran.events:
        if isinstance(event, EpochEnded) and not event.finished:
            now.add(event.name)
            slot = (event.node, event.pid)
            if slot in ends:
                waits.append((event.time, event.time - ends.pop(slot)))
        elif isinstance(event, EpochEnded):
            ends[event.node, event.pid] = event.time
        elif isinstance(event, TrialEnded):
            now.discard(event.name)
        if len(now) > most:
            most, full = len(now), event.time
    told = epochs[-1].time - epochs[0].time
    print(
        f"{nodes} node{'s' if nodes > 1 else ''}, {most} trials in flight, {trials} in all over {told:.0f} s: driver "
        f"{1000 * ran.cpu / trials:.0f} ms of CPU a trial ({1000 * ran.cpu / len(epochs):.0f} a report, "
        f"{100 * ran.cpu / ran.wall:.0f} % of a core)",
        flush=True,
    )
    # The time in which processes start is left out, since their imports take the cores.
    after = [wait for moment, wait in waits if moment > full]
    if len(after) > 1:
        parts = statistics.quantiles(after, n=20)
        print(
            f"    free slot to first report, {len(after)} times with all of them in flight: median "
            f"{1000 * parts[9]:.0f} ms, 95 % {1000 * parts[18]:.0f} ms, most {1000 * max(after):.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    run(main)
