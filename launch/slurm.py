"""Runs a search, an encoding or a training as a job of Slurm, which goes on by itself after each time limit."""

from fervit.cli import run
from fervit.commands.sweeps.slurm import main

if __name__ == "__main__":
    run(main)
