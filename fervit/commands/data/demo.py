"""Tries the whole way in a few minutes: draws faces, encodes them, and searches for a model."""

from __future__ import annotations

import shlex
import subprocess
import sys

from fervit.cli import Parser
from fervit.commands.output import add_format
from fervit.system.program import called, starting

FACES, LATENTS = "dataset/demo", "latents/demo"


def parser() -> Parser:
    """Defines the flags of `fervit demo`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__, epilog=f"It writes {FACES}, {LATENTS} and experiments/ into this folder.")
    add_format(flags, of="demo")
    return flags


def main() -> int:
    """Runs the commands of the demo one after the other, each in a process of its own.

    Returns:
        The exit status of the first command that fails, or 0.
    """
    as_json = parser().parse().format == "json"
    says = sys.stderr if as_json else sys.stdout
    for command, words in (
        ("demo_faces", ["--output_dir", FACES]),
        ("encode", ["--data_root", FACES, "--latent_out", LATENTS, "--encoder_type", "demo", "--batch_size", "32"]),
        ("tune", ["--space", "demo", "--latents", LATENTS, *(["--format", "json"] if as_json else [])]),
    ):
        print(f"$ {called(command)} {shlex.join(words)}", file=says, flush=True)
        output = None if command == "tune" else says.fileno()  # what it found is the result of the demo
        if status := subprocess.run([*starting(command), *words], stdout=output, check=False).returncode:
            return status
    return 0
