"""The batch job that a command runs in: its name, and the folder that `launch/slurm.py` prepared for it."""

from __future__ import annotations

import os
from pathlib import Path

JOB_FOLDER = "slurm"
"""The folder inside of the folder of a sweep or a run that holds the batch script, its log and the list of its jobs."""


def job_name() -> str:
    """Returns the name of the Slurm job that this process belongs to, such as "slurm 1234, start 2"; "" for none."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"slurm {job}, start {int(os.environ.get('SLURM_RESTART_COUNT') or 0) + 1}" if job else ""


def is_prepared(folder: Path, begun: Path) -> bool:
    """Returns whether a folder was made for a job whose command has not begun its work there yet.

    Args:
        folder: the folder of a sweep or a run.
        begun: a file of the folder that the command writes when it begins.
    """
    return (folder / JOB_FOLDER).is_dir() and not begun.exists()
