"""How a local Ray starts: within the CPUs and the memory that this process may use, in a folder whose path is short."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fervit.progress import in_notebook
from fervit.system import interrupts, surroundings
from fervit.system.hardware import memory_limit, usable_cpus

LONGEST_PATH = 40
"""The bytes that the path of Ray's folder may have: its sockets lie deep below, and Linux allows them 107 bytes."""
DASHBOARD = "FERVIT_DASHBOARD"
"""The environment variable that, set to 0, leaves the dashboard of a local Ray out, which takes 2 s and 200 MB."""
OBJECTS, TASKS = 0.3, 0.6
"""The shares of a memory limit for Ray's object store, as by Ray's own default, and for tasks and actors."""


def fit_environment() -> None:
    """Sets the variables that Ray reads when it is imported, where the user has not set them.

    Under `uv run`, Ray would copy the working directory, however large it is, to all its workers.
    """
    surroundings.complete()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")


def local_settings() -> tuple[dict[str, Any], str]:
    """Returns the arguments of `ray.init` for a local Ray, and a remark for the user, or "" for none.

    A token guards every Ray. Where no home can keep it, it stays in this process and its children.
    """
    settings: dict[str, Any] = {}
    if os.environ.get(DASHBOARD) == "0":
        settings["include_dashboard"] = False
    if "CPU" not in os.environ.get("RAY_OVERRIDE_RESOURCES", ""):
        settings["num_cpus"] = usable_cpus()
    limit = memory_limit()
    if limit is not None:
        settings |= {"object_store_memory": int(OBJECTS * limit), "_memory": int(TASKS * limit)}
    folder, remark = temporary_folder()
    if folder is not None:
        settings["_temp_dir"] = folder
    token = Path.home() / ".ray" / "auth_token"
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not named and not os.access(token, os.R_OK) and not surroundings.can_write_below(token.parent):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    return settings, remark


def temporary_folder() -> tuple[str | None, str]:
    """Chooses the folder of Ray's own files: None for Ray's choice, and a remark where another one is taken."""
    usual = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    if _can_hold_sockets(Path(usual, "ray")):
        return None, ""
    own = f"ray_{os.getuid()}"
    bases = ("/tmp", "/var/tmp", os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", str(Path.home()))
    for base in bases:
        for name in ("ray", own):
            if base and _can_hold_sockets(Path(base, name)):
                return str(Path(base, name)), f"Ray's own files are in {base}/{name}: {usual} does not suit its sockets"
    return None, ""


def _can_hold_sockets(folder: Path) -> bool:
    """Whether a folder can be made, and hold sockets under paths that are short enough."""
    if len(os.fsencode(folder)) > LONGEST_PATH or not str(folder).isascii():
        return False
    probe = folder / f".probe_{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            folder.chmod(0o777)  # as Ray does, since others on this machine share it
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(probe))
        probe.unlink()
    except OSError:
        return False
    return True


@contextmanager
def keeping_signals() -> Iterator[None]:
    """Keeps the handlers of signals while the block starts Ray or joins one, and sets them again at its end.

    Ray's C++ code answers SIGTERM by ending the process without a word. Its processes get a process group of their own,
    so that a signal to the group of this command, as `timeout` sends, leaves them to this command.
    """
    from ray._private import services, utils

    before = interrupts.handlers()
    if before.get(signal.SIGTERM) == signal.SIG_DFL and not in_notebook():
        before[signal.SIGTERM] = _interrupt  # as Ctrl-C, in a script that uses fervit's functions
    patched = (utils, "set_sigterm_handler", lambda handler: None), (services, "ConsolePopen", _in_own_group(services))
    originals = [getattr(module, name) for module, name, _ in patched]
    for module, name, ours in patched:
        setattr(module, name, ours)
    try:
        yield
    finally:
        for (module, name, _), original in zip(patched, originals, strict=True):
            setattr(module, name, original)
        interrupts.restore(before)


def _interrupt(number: int, frame: object) -> None:
    interrupts.interrupt(number)


def _in_own_group(services: Any) -> type[subprocess.Popen[bytes]]:
    class InOwnGroup(services.ConsolePopen):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{"process_group": 0, **options})

    return InOwnGroup
