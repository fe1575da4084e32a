"""Runs other samplers and schedulers on the recorded curves of a sweep: what they would have found, without
training."""

from fervit.cli import run
from fervit.commands.sweeps.replay import main

if __name__ == "__main__":
    run(main)
