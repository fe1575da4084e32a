"""Tries the whole way in a few minutes: draws faces, encodes them, and searches for a model."""

from __future__ import annotations

import shlex
import subprocess

from fervit.cli import Parser
from fervit.system.program import called, starting

FACES, LATENTS = "dataset/demo", "latents/demo"


def parser() -> Parser:
    """Defines the flags of `fervit demo`, which has none.

    Returns:
        The parser of the flags.
    """
    return Parser(description=__doc__, epilog=f"It writes {FACES}, {LATENTS} and experiments/ into this folder.")


def main() -> int:
    """Runs the commands of the demo one after the other, each in a process of its own.

    Returns:
        The exit status of the first command that fails, or 0.
    """
    parser().parse()
    for command, words in (
        ("demo_faces", ["--output_dir", FACES]),
        ("encode", ["--data_root", FACES, "--latent_out", LATENTS, "--encoder_type", "demo", "--batch_size", "32"]),
        ("tune", ["--space", "demo", "--latents", LATENTS]),
    ):
        print(f"$ {called(command)} {shlex.join(words)}", flush=True)
        if status := subprocess.run([*starting(command), *words], check=False).returncode:
            return status
    return 0
