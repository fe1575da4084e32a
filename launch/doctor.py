"""Examines this machine and what a job is about to use, on one screen; paste it into a bug report."""

from fervit.cli import run
from fervit.commands.doctor import main

if __name__ == "__main__":
    run(main)
