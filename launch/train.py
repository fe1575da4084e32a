"""Trains one LatentViT on Ray Train, on one or several workers, and goes on with a run that was cut short."""

from fervit.cli import run
from fervit.commands.train import main

if __name__ == "__main__":
    run(main)
