"""How the commands of fervit are called: `fervit tune` where it is installed, `python launch/tune.py` in its code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

NAME = "fervit"
CODE = Path(__file__).resolve().parents[2]
"""The folder of fervit's code, if this is one; of an installed fervit the folder that holds all packages."""
LAUNCH = CODE / "launch"
SHIPPED = Path(__file__).resolve().parents[1] / "shipped"
"""The folder of an installed fervit with the files that lie beside the package in its code (setup.py)."""


def called(command: str) -> str:
    """Returns how the user calls a command, for messages.

    Args:
        command: the name of the command, such as "tune".
    """
    by_script = Path(sys.argv[0]).parent.name == "launch"
    by_name = _is_name(sys.argv[0])
    if command == "demo" and _is_code() and not by_name:
        return "make demo"  # which sets up the environment, too
    return f"python launch/{command}.py" if by_script or (_is_code() and not by_name) else f"{NAME} {command}"


def in_words(argv: Sequence[str]) -> str:
    """Returns the line that starts a process again, given its `sys.argv`."""
    words = argv[0].split(" ") if _is_name(argv[0]) else ["python", argv[0]]
    return shlex.join([*words, *map(str, argv[1:])])


def starting(command: str) -> list[str]:
    """Returns the words that start a command in another process, with this Python."""
    script = LAUNCH / f"{command}.py"
    return [sys.executable, *([str(script)] if _is_code() else ["-m", NAME, command])]


def shipped(name: str) -> Path:
    """Returns the path of a file or folder that comes with fervit, such as search_spaces."""
    return SHIPPED / name if SHIPPED.is_dir() else CODE / name


def _is_name(word: str) -> bool:
    """Returns whether the first word of `sys.argv` is that of `fervit COMMAND`."""
    return word.startswith(f"{NAME} ")


def _is_code() -> bool:
    return LAUNCH.is_dir() and not SHIPPED.is_dir()
