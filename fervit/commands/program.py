"""The command `fervit`, of which each command of `launch/` is a subcommand."""

from __future__ import annotations

import difflib
import importlib
import shutil
import sys
import textwrap
from collections.abc import Callable
from types import ModuleType

from fervit.cli import run
from fervit.system.program import NAME
from fervit.version import __version__

HOMES = {
    "demo": "data.demo",
    "doctor": "doctor",
    "demo_faces": "data.demo_faces",
    "preprocess": "data.preprocess",
    "audit": "data.audit",
    "encode": "data.encode",
    "train": "models.train",
    "tune": "sweeps.tune",
    "evaluate": "models.evaluate",
    "compare": "models.compare",
    "predict": "models.predict",
    "export": "models.export",
    "control": "sweeps.control",
    "report": "sweeps.report",
    "replay": "sweeps.replay",
    "verify": "sweeps.verify",
    "slurm": "sweeps.slurm",
    "cluster": "cluster",
    "schema": "schema",
}
"""The module of each command below `fervit.commands`, in the order in which a user meets them."""


def home(command: str) -> ModuleType:
    """Returns the module of a command, which has `parser()` and `main()`."""
    return importlib.import_module(f"fervit.commands.{HOMES[command]}")


def main() -> None:
    """Runs `fervit COMMAND ...` with the words of `sys.argv`.

    Raises:
        SystemExit: always, with the exit status of the command.
    """
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        sys.exit(0 if words else 2)
    name = words[0].replace("-", "_")
    if words[0] == "--version":
        print(f"{NAME} {__version__}")
        sys.exit(0)
    if words[0] == "completion":
        run(lambda: _print_completion(words[1:]))
    if name not in HOMES:
        near = difflib.get_close_matches(name, HOMES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        sys.stderr.write(f"{NAME}: error: no command {words[0]}{hint} ({NAME} --help lists all)\n")
        sys.exit(2)
    sys.argv = [f"{NAME} {name}", *words[1:]]  # first, since commands say how they are called
    command: Callable[[], int | None] = home(name).main
    run(command)


def overview() -> str:
    """Returns the help of `fervit`: all commands with a line each."""
    rows = {name: summary(name) for name in HOMES}
    rows["completion"] = "Prints what completes commands and flags in a shell: bash, zsh or tcsh."
    rows["--version"] = "Prints the version."
    width = shutil.get_terminal_size().columns
    lines = [
        textwrap.fill(text, width, initial_indent=f"  {name:<11} ", subsequent_indent=" " * 14)
        for name, text in rows.items()
    ]
    return "\n".join([f"usage: {NAME} COMMAND ...   ({NAME} COMMAND --help shows its flags)", "", *lines])


def summary(command: str) -> str:
    """Returns the first sentence of a command's description."""
    text = " ".join((home(command).__doc__ or "").split())
    return text.partition(". ")[0].rstrip(".") + "."


def _print_completion(words: list[str]) -> None:
    from fervit.commands.completion import completion, parser

    flags = parser()
    shell = flags.parse(words).shell
    commands = {name: (home(name).parser(), summary(name)) for name in HOMES}
    print(completion(shell, {**commands, "completion": (flags, flags.description or "")}))
