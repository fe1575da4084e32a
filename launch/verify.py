"""Computes every printed number of a sweep again from its record, its models and its latents, and names the first that
differs."""

from fervit.cli import run
from fervit.commands.sweeps.verify import main

if __name__ == "__main__":
    run(main)
