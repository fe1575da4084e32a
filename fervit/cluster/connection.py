"""Joins a Ray cluster or starts a local one, and sends Ray's own messages to a file."""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path

from fervit.cluster.local_ray import DASHBOARD, fit_environment, keeping_signals, local_settings
from fervit.cluster.nodes import NODE_GROUP, NODE_TYPES, Cluster, Node, gpu_type, may_join
from fervit.cluster.ray_output import descriptor_to, loggers_to, messages_to
from fervit.errors import JobError, UserError
from fervit.io.files import first_line

CONNECT_S = 10.0
"""The time in seconds within which a Ray must accept a connection."""
AUTH_MODE = "RAY_AUTH_MODE"
"""The variable that says whether Ray's processes know each other by a token."""
_ASKS_FOR_A_TOKEN = f"; if it asks for a token, copy that to ~/.ray/auth_token here and set {AUTH_MODE}=token"


@contextmanager
def connect(address: str | None, log: Path) -> Iterator[Cluster]:
    """Connects this process to a Ray cluster while the block runs.

    It joins the cluster at `address`, or at RAY_ADDRESS, or the one that was started on this machine. If there is none,
    it starts a local Ray. A Ray that this process is connected to already is used and left running.

    Args:
        address: host:port of the cluster, or None.
        log: the file that Ray's own messages are written to.

    Yields:
        The cluster.

    Raises:
        UserError: there is no Ray at `address`.
        JobError: a local Ray could not be started.
    """
    fit_environment()
    import ray

    connected_before = ray.is_initialized()
    with descriptor_to(log) as file:
        if not connected_before:
            with redirect_stderr(file):
                remark = _init(address)
            if remark:
                print(remark, file=sys.stderr)  # noqa: T201
        try:
            with loggers_to(file), messages_to(file):
                yield _describe(connected_before)
        finally:
            if not connected_before:
                ray.shutdown()


def would_join(address: str | None) -> bool:
    """Whether `connect` would use a Ray that is there already, rather than start one for this process alone."""
    fit_environment()
    import ray
    from ray._private.services import find_bootstrap_address

    given = address or os.environ.get("RAY_ADDRESS")
    return given is not None or ray.is_initialized() or listens(find_bootstrap_address(None))


def listens(address: str | None) -> bool:
    """Whether a connection to host:port can be made. For other forms (auto, local, ray://...) Ray itself finds out."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return address is not None
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S):
            return True
    except OSError:
        return False


def is_here(address: str) -> bool:
    """Whether the host of host:port is this machine."""
    host = address.rpartition(":")[0]
    if not host:
        return False
    try:
        host = socket.gethostbyname(host.strip("[]"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))  # which only an address of this machine allows
    except OSError:
        return False
    return True


def _use_own_token() -> None:
    """Shows a Ray on this machine the user's token, if there is one and the user has not decided about it.

    `ray start` asks for the token as soon as there is one, and `ray.init` with an address shows none. To another
    machine the token is not sent unasked.
    """
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _init(address: str | None) -> str:
    """Joins the cluster at an address, or starts a local Ray. Returns a remark for the user, or "" for none."""
    import ray
    from ray._private.services import find_bootstrap_address

    given = address or os.environ.get("RAY_ADDRESS")
    if given == "local" or (given is None and not listens(find_bootstrap_address(None))):
        address = "local"  # a file may still name a Ray that was killed, for which Ray would wait
    elif given is not None and not listens(given):
        raise UserError(
            f"--address {given}: nothing listens there; start Ray with `ray start --head`, or leave the address (and "
            "RAY_ADDRESS) out"
        )
    elif given is not None and is_here(given):
        _use_own_token()
    settings, remark = local_settings() if address == "local" else ({}, "")
    try:
        with keeping_signals():
            ray.init(address=address, log_to_driver=False, configure_logging=False, **settings)
    except (OSError, ValueError, RuntimeError, AssertionError, ray.exceptions.RayError) as error:
        address = given
        if address in (None, "local"):
            raise JobError(
                f"a local Ray could not be started ({first_line(error)}); start the command again, with TMPDIR at a "
                "folder on a disk of this machine if that is why"
            ) from None
        raise UserError(
            f"--address {address}: no Ray answers there ({first_line(error)}); start one with `ray start --head`, or "
            f"leave the address (and RAY_ADDRESS) out{_ASKS_FOR_A_TOKEN if AUTH_MODE not in os.environ else ''}"
        ) from None
    return remark


def cluster_nodes() -> tuple[Node, ...]:
    """The nodes of the cluster that this process is connected to: the running ones, then those that may join."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    return (
        *(
            Node(
                address=node["NodeManagerAddress"],
                cpus=node["Resources"].get("CPU", 0),
                gpus=node["Resources"].get("GPU", 0),
                gpu_type=gpu_type(node["Resources"]),
                node_id=node["NodeID"],
            )
            for node in alive
        ),
        *may_join(Counter(node["Labels"].get(NODE_GROUP, "") for node in alive), os.environ.get(NODE_TYPES, "")),
    )


def free_nodes() -> tuple[Node, ...]:
    """The nodes as `cluster_nodes` returns them, with only what no process of the cluster holds at the moment."""
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    return tuple(
        replace(node, cpus=free.get(node.node_id, {}).get("CPU", 0), gpus=free.get(node.node_id, {}).get("GPU", 0))
        if node.there
        else node
        for node in cluster_nodes()
    )


def _describe(connected_before: bool) -> Cluster:
    from ray._private import worker

    started_here = not connected_before and worker._global_node is not None and worker._global_node.head
    url = None if started_here and os.environ.get(DASHBOARD) == "0" else worker.get_dashboard_url()
    return Cluster(nodes=cluster_nodes(), dashboard=f"http://{url}" if url else None, started_here=started_here)
