"""Searches for the best LatentViT over a space of hyperparameters, on Ray Tune with Optuna."""

from fervit.cli import run
from fervit.commands.sweeps.tune import main

if __name__ == "__main__":
    run(main)
