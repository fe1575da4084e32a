"""Trains one LatentViT, in a process of this machine or with Ray Train, and goes on with a run that was cut short."""

from fervit.cli import run
from fervit.commands.models.train import main

if __name__ == "__main__":
    run(main)
