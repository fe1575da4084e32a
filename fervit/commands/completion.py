"""What completes commands, flags and their values in a shell, written by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import shtab

from fervit.cli import Parser, positive_int, whole_number
from fervit.system.program import NAME, shipped

ENCODERS = ("psp", "e4e", "demo")
"""The encoders of fervit, by `fervit.encoders.registry`, which takes a second to import: a shell starts with this."""
NUMBERS = (int, float, positive_int, whole_number)
SPACE = {"bash": "_fervit_space", "zsh": "_fervit_space", "tcsh": "f"}
"""What each shell calls to complete a search space: fervit's own by their names, and files."""
SPACE_FUNCTIONS = {
    "bash": '_fervit_space() {{ compgen -W "{spaces}" -- "$1"; compgen -f -- "$1"; }}',
    "zsh": "_fervit_space() {{ _alternative 'spaces:space:({spaces})' 'files:file:_files' }}",
    "tcsh": "",
}


def parser() -> Parser:
    """Defines the arguments of `fervit completion`.

    Returns:
        The parser of the arguments.
    """
    flags = Parser(description="Prints what completes commands and flags in a shell.")
    flags.prog = f"{NAME} completion"
    flags.add_argument("shell", choices=list(SPACE), help=f'for bash: eval "$({NAME} completion bash)" in ~/.bashrc')
    return flags


def completion(shell: str, commands: Mapping[str, tuple[Parser, str]]) -> str:
    """Returns the script that a shell evaluates.

    Args:
        shell: "bash", "zsh" or "tcsh".
        commands: the name of each command -> its flags and its summary.
    """
    whole = argparse.ArgumentParser(prog=NAME)
    whole.add_argument("--version", action="store_true", help="print the version")
    below = whole.add_subparsers()
    for name, (flags, summary) in commands.items():
        for action in flags.actions():
            _complete_values(action)
        below.add_parser(name, parents=[flags], add_help=False, help=summary)
    spaces = " ".join(sorted(path.stem for path in shipped("search_spaces").glob("*.yaml")))
    return shtab.complete(whole, shell, preamble=SPACE_FUNCTIONS[shell].format(spaces=spaces))


def _complete_values(action: argparse.Action) -> None:
    """Says what completes the values of an argument that has no choices and takes more than numbers: names of files."""
    if action.dest == "encoder_type" and not action.choices:
        action.choices = ENCODERS
    elif not action.choices and action.nargs != 0 and action.type not in NUMBERS:
        setattr(action, "complete", SPACE if action.dest == "space" else shtab.FILE)  # noqa: B010 (shtab's own)
