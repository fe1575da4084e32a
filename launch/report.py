"""Writes report.html: one page, in one file, that shows what a sweep, a training run or an evaluation found."""

from fervit.cli import run
from fervit.commands.sweeps.report import main

if __name__ == "__main__":
    run(main)
