"""Encodes faces into W+ codes (Parquet) with a StyleGAN encoder, on Ray Data."""

from fervit.cli import run
from fervit.commands.data.encode import main

if __name__ == "__main__":
    run(main)
