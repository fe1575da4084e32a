"""Prints a JSON Schema: of a search space file, or of what a command prints with --format json."""

from __future__ import annotations

import json

from fervit.cli import Parser

SPACE = "space"
RESULTS = (
    *("demo_faces", "preprocess", "audit", "encode", "train", "tune", "evaluate", "compare", "predict", "export"),
    *("report", "replay", "verify", "doctor", "slurm", "slurm_status", "cluster", "control", "demo"),
)
"""The commands that print JSON; `fervit.commands.results`, a slow import, has the type of each result."""


def parser() -> Parser:
    """Defines the flags of `fervit schema`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    names = ", ".join(RESULTS)
    flags.add_argument("of", choices=(SPACE, *RESULTS), metavar="NAME", help=f"space, or a command: {names}")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`."""
    args = parser().parse()

    if args.of == SPACE:
        from fervit.search.space.schema import space_schema

        found = space_schema()
    else:
        from fervit.commands.results import result_schema

        found = result_schema(args.of)
    print(json.dumps(found, indent=1, ensure_ascii=False))
