"""Evaluates a trained LatentViT on a split of latents."""

from fervit.cli import run
from fervit.commands.models.evaluate import main

if __name__ == "__main__":
    run(main)
