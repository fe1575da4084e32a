"""Checks a job on the machine where it is submitted, before it waits in a queue for hours, and submits it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fervit.errors import JobError, UserError
from fervit.io.files import is_uri
from fervit.slurm.script import JobFiles
from fervit.system.program import called

OWN_DISKS = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""Folders that are a node's own on every cluster."""
LOOKS = ("SQUEUE_", "SINFO_")
"""The beginnings of variables with which users set what squeue and sinfo show, and how."""
ANSWER_S = 60
"""The seconds within which Slurm must answer."""


def ask_slurm(*words: str, environment: Mapping[str, str] | None = None) -> str:
    """Runs a command of Slurm, and returns what it printed.

    Args:
        words: the command.
        environment: its variables; None for those of this process, without those that change how answers look.

    Raises:
        UserError: there is no Slurm here.
        JobError: the command failed; the message is what it said.
    """
    if shutil.which(words[0]) is None:
        raise UserError(
            f"no Slurm here: {words[0]} is not on the PATH; run this on the cluster's login node (or `module load "
            f"slurm`), or take {called('tune')} itself"
        )
    if environment is None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(LOOKS)} | {
            "SLURM_TIME_FORMAT": "standard"
        }
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=ANSWER_S, check=False, env=environment)
    except subprocess.TimeoutExpired:
        raise JobError(f"{words[0]}: Slurm does not answer within {ANSWER_S} s; try again later") from None
    if done.returncode:
        lines = [re.sub(r"^\w+: (error: )?", "", line) for line in done.stderr.splitlines() if line.strip()]
        raise JobError(f"{words[0]}: {'; '.join(lines) or f'status {done.returncode}'}")
    return done.stdout


def without_job(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns variables without those of the job in which this process runs, which sbatch would take for wishes.

    `clusters/slurm.sh` does the same where it submits a successor.
    """
    return {name: value for name, value in environment.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}


def submit_script(script: Path, *flags: str) -> str:
    """Submits a batch script, and returns the number of its job.

    Args:
        script: the path of the script.
        flags: further flags of sbatch.

    Raises:
        UserError: there is no Slurm here.
        JobError: Slurm refuses the job, or does not answer.
    """
    answer = ask_slurm("sbatch", "--parsable", *flags, str(script), environment=without_job(os.environ))
    numbers = re.findall(r"^(\d+)(?:;.*)?$", answer, re.MULTILINE)  # among what a cluster's own sbatch may say
    if not numbers:
        raise JobError(f"sbatch: named no job, but said {answer.strip()[:200]!r}")
    return str(numbers[-1])


def check_shared(what: str, path: str | Path) -> None:
    """Refuses a path that every node has for itself.

    Args:
        what: the flag or the name of the path, for the message.
        path: a path or a URI.

    Raises:
        UserError: it lies on a disk of this machine alone.
    """
    if is_uri(str(path)):
        return
    places = (Path(path).absolute(), Path(path).resolve())  # a link may lead there
    for own in (*OWN_DISKS, os.environ.get("TMPDIR", "")):
        if own and any(place.is_relative_to(own) for place in places):
            raise UserError(
                f"{what} {path}: {own} is a disk of each node's own; put it into a folder that all nodes share, such "
                "as your home or the project's"
            )


def after_flags(job: str) -> tuple[str, str]:
    """Returns the flags of sbatch for a job that begins once others have ended well, and that goes if they fail."""
    return f"--dependency=afterok:{job}", "--kill-on-invalid-dep=yes"


def submit(files: JobFiles, after: str | None = None) -> str:
    """Submits the batch script, and returns the number of the job.

    Args:
        files: the files of the job.
        after: the numbers of jobs that must have ended well before, with colons between them; None for none.

    Raises:
        UserError: there is no Slurm here, or it refuses the job.
    """
    try:
        return submit_script(files.script, *([*after_flags(after)] if after else []))
    except JobError as error:
        raise UserError(f"{error}; the script is {files.script}: change it, and give it to sbatch") from None
