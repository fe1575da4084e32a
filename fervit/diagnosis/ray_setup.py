"""Examines where a Ray of this machine would put its files and listen, and whether one runs already."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from fervit.cluster.connection import listens
from fervit.cluster.gpus import GIB
from fervit.cluster.local_ray import temporary_folder
from fervit.diagnosis.finding import Finding
from fervit.io.files import first_line

FULL = 0.95
"""The share of its disk from which on Ray writes no more objects to it."""
SESSION = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest path below Ray's folder to which it binds a socket."""
PORTS = {6379: "ray start --head", 8265: "dashboard"}


def examine_ray() -> Iterator[Finding]:
    """Examines Ray's folder, its ports, and the Ray that commands would join."""
    from ray._common.utils import get_default_ray_temp_dir
    from ray._private.services import find_bootstrap_address

    chosen, remark = temporary_folder()
    found_there = examine_folder(Path(chosen or get_default_ray_temp_dir()))
    yield replace(found_there, text=f"{found_there.text} ({remark})") if remark else found_there
    yield _ports()
    yield _own_address()
    given = os.environ.get("RAY_ADDRESS")
    found = given or find_bootstrap_address(None)
    if given and not listens(given):
        nothing = "nothing listens there; unset RAY_ADDRESS, or start Ray there"
        yield Finding(topic="Ray", text=f"RAY_ADDRESS={given}", problem=nothing)
    elif found and listens(found):
        yield Finding(topic="Ray", text=f"one runs at {found}, which commands join")
    else:
        yield Finding(topic="Ray", text="none runs here; commands start their own")


def examine_folder(folder: Path) -> Finding:
    """Examines the folder in which Ray makes one for each session, such as /tmp/ray."""
    from ray._private.utils import validate_socket_filepath

    above = folder
    while not above.exists():
        above = above.parent
    usage = shutil.disk_usage(above)
    text = f"{folder}: {usage.free / GIB:.1f} GiB free"
    elsewhere = "`export RAY_TMPDIR=/a/short/path/of/yours`"
    problem = ""
    try:
        validate_socket_filepath(str(folder / SESSION))
    except OSError:
        problem = f"the path is too long for Ray's sockets (107 bytes with all that it adds); {elsewhere}"
    if not os.access(above, os.W_OK | os.X_OK):
        problem = f"{above} belongs to {_owner(above)} and cannot be written to by you; {elsewhere}"
    elif 1 - usage.free / usage.total > FULL:
        problem = f"the disk is fuller than {FULL:.0%}, and Ray then writes no more to it; make room, or {elsewhere}"
    return Finding(topic="Ray's folder", text=text, problem=problem)


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError):
        return f"user {path.stat().st_uid}"


def _ports() -> Finding:
    states = [f"{port} ({what}) {'taken' if _taken(port) else 'free'}" for port, what in PORTS.items()]
    return Finding(topic="ports", text=", ".join(states) + "; a Ray of a command's own takes others")


def _taken(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _own_address() -> Finding:
    """The address at which Ray's processes of this machine talk to each other. A firewall may keep them from it."""
    from ray.util import get_node_ip_address

    address = get_node_ip_address()
    try:
        with closing(socket.create_server((address, 0))) as server:
            socket.create_connection((address, server.getsockname()[1]), timeout=5).close()
    except OSError as error:
        return Finding(
            topic="own address",
            text=address,
            problem=f"this machine cannot reach itself there ({first_line(error)}); see to its firewall or VPN",
        )
    return Finding(topic="own address", text=address)
