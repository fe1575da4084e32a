"""Compares what several runs, sweeps or checkpoints reached, and says which differences are more than noise."""

from fervit.cli import run
from fervit.commands.models.compare import main

if __name__ == "__main__":
    run(main)
