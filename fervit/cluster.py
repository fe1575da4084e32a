"""Joining a Ray cluster, or starting a local one, with Ray's chatter in a file."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import yaml

from fervit.errors import JobError, UserError
from fervit.files import first_line

CONNECT_S = 10.0
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


@contextmanager
def connect(address: str | None, log: Path) -> Iterator[Cluster]:
    """Joins the Ray at `address` (or RAY_ADDRESS, or one started on this machine); without one, starts a local Ray.

    A Ray that this process is connected to already is used as it is and left running. Ray's own messages go to the
    file `log`.

    Raises:
        UserError: there is no Ray at `address`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    connected_before = ray.is_initialized()
    with _descriptor_to(log) as file:
        if not connected_before:
            with redirect_stderr(file):
                _init(address)
        try:
            with _loggers_to(file), _messages_to(file):
                yield _describe(connected_before)
        finally:
            if not connected_before:
                ray.shutdown()


def _init(address: str | None) -> None:
    import ray
    from ray._private.services import find_bootstrap_address

    given = address or os.environ.get("RAY_ADDRESS")
    if given is None and not _listens(find_bootstrap_address(None)):
        address = "local"  # Ray would wait for one that was killed, of which a file still speaks
    elif not _listens(given):
        raise UserError(
            f"--address {given}: nothing listens there; start Ray with `ray start --head`, or leave the address (and "
            "RAY_ADDRESS) out"
        )
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        address = given
        if address is None:
            raise JobError(f"a local Ray could not be started ({first_line(error)}); start the command again") from None
        raise UserError(
            f"--address {address}: no Ray answers there ({first_line(error)}); start one with `ray start --head`, or "
            "leave the address (and RAY_ADDRESS) out"
        ) from None


def _listens(address: str | None) -> bool:
    """Whether a connection to host:port can be made; of other forms (auto, local, ray://...) Ray itself has to say."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return address is not None
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S):
            return True
    except OSError:
        return False


def cluster_nodes() -> tuple[Node, ...]:
    """Of the Ray that this process is connected to: those that are there, then those that may join."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    return (
        *(
            Node(
                address=node["NodeManagerAddress"],
                cpus=node["Resources"].get("CPU", 0),
                gpus=node["Resources"].get("GPU", 0),
                gpu_type=_gpu_type(node["Resources"]),
                node_id=node["NodeID"],
            )
            for node in alive
        ),
        *may_join(Counter(node["Labels"].get(NODE_GROUP, "") for node in alive), os.environ.get(NODE_TYPES, "")),
    )


def _describe(connected_before: bool) -> Cluster:
    from ray._private import worker

    url = worker.get_dashboard_url()
    started_here = not connected_before and worker._global_node is not None and worker._global_node.head
    return Cluster(nodes=cluster_nodes(), dashboard=f"http://{url}" if url else None, started_here=started_here)


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
                gpu_type=_gpu_type(resources),
                there=False,
            )


def _gpu_type(resources: Mapping[str, float]) -> str | None:
    prefix = "accelerator_type:"
    return next((name.removeprefix(prefix) for name in resources if name.startswith(prefix)), None)


@contextmanager
def _descriptor_to(path: Path) -> Iterator[TextIO]:
    """Makes file descriptor 2, to which Ray's C++ writes, the file `path`, and yields that file.

    `sys.stderr` goes on writing to where descriptor 2 led before: our own messages and progress still reach the user.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    python_stderr, terminal = sys.stderr, os.dup(2)
    file = path.open("a", encoding="utf-8", buffering=1)
    with _closed_whatever_happens(file), os.fdopen(os.dup(2), "w", buffering=1) as to_terminal:
        os.dup2(file.fileno(), 2)
        if _fileno(python_stderr) == 2:  # not in a notebook, where Python's stderr leads elsewhere
            sys.stderr = to_terminal
        try:
            yield file
        finally:
            to_terminal.flush()
            sys.stderr = python_stderr
            os.dup2(terminal, 2)
            os.close(terminal)


@contextmanager
def _closed_whatever_happens(file: TextIO) -> Iterator[None]:
    """A log that cannot be written (the disk is full) must not hide what happened."""
    try:
        yield
    finally:
        with suppress(OSError):
            file.close()


@contextmanager
def _loggers_to(file: TextIO) -> Iterator[None]:
    """Ray's Python loggers write to `file` and nowhere else. Ray sets some of them up when a library is imported."""
    import ray.data  # noqa: F401  (its import adds a handler that writes to the terminal)

    handler = logging.StreamHandler(file)
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # as when the disk is full
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger("ray"), logging.getLogger("ray.data")]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate


@contextmanager
def _messages_to(file: TextIO) -> Iterator[None]:
    """What the cluster tells its drivers (a worker died, a node is gone) is written to `file`, not printed.

    The death of this machine's own node ends the driver at once, so that is told in a line.
    """
    from ray._private import worker

    told = False

    def write(data: dict[str, Any], ignore_prefix: bool) -> None:
        nonlocal told
        text = "\n".join(data["lines"])
        with suppress(OSError):
            file.write(f"{text}\n")
        if "Raylet is terminated" in text and not told:
            told = True
            print(  # noqa: T201
                f"error: Ray's node on this machine was killed or ran out of memory (see {file.name}); start the same "
                "command again",
                file=sys.stderr,
            )

    before = worker.print_to_stdstream
    worker.print_to_stdstream = write
    try:
        yield
    finally:
        worker.print_to_stdstream = before


def _fileno(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
