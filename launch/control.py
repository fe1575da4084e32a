"""Steers a sweep while it runs: stops, keeps or adds trials, holds it, and says why a trial ended."""

from fervit.cli import run
from fervit.commands.sweeps.control import main

if __name__ == "__main__":
    run(main)
