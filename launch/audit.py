"""Looks through a data set before training: copies, blank and dark pictures, doubtful labels, odd codes."""

from fervit.cli import run
from fervit.commands.data.audit import main

if __name__ == "__main__":
    run(main)
