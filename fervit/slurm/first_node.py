"""What the other nodes of a job do when its first one dies, on which the batch script and the command run.

The job is one that outlives the loss of a node (`--no-kill`). Slurm then keeps it running on the nodes that are left,
also if the batch script is gone: it would do nothing until its time limit. So these nodes ask Slurm whether it has
taken the first one from the job, and requeue it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from fervit.errors import JobError, UserError
from fervit.io.disk import make_new_folder

PATIENCE_S = 1800.0
"""How long Slurm may take to notice that a node is down: SlurmdTimeout, which is 300 s unless a cluster sets it."""
PAUSE_S = 10.0


def go_on_without(first: str, say: Callable[[str], None]) -> bool:
    """Waits until Slurm has taken the first node from the job, and requeues the job, once for all nodes.

    Args:
        first: the name of the first node.
        say: prints a line into the job's log.

    Returns:
        Whether the first node is lost; False if the job ends or goes on.
    """
    job = os.environ["SLURM_JOB_ID"]
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        nodes = _nodes_of(job)
        if nodes is not None and first not in nodes:
            break
        time.sleep(PAUSE_S)
    else:
        return False
    if not nodes or not _is_ours(job):
        return bool(nodes)
    say(f"the job's first node {first} is lost: requeueing")
    if _does(say, "scontrol", "requeue", job):
        return True
    if not _submit_successor(say, job):  # Slurm does not let this job requeue itself
        say("the job could neither be requeued nor its successor be submitted: submit it again to go on")
    _does(say, "scancel", job)
    return True


def _nodes_of(job: str) -> list[str] | None:
    """Returns the nodes of a job that runs, [] if it does not run any more, None if Slurm does not answer."""
    from fervit.slurm.submit import ask_slurm

    try:
        state, _, nodes = ask_slurm("squeue", "--noheader", f"--jobs={job}", "--format=%T|%N").strip().partition("|")
        running = state in ("RUNNING", "CONFIGURING")
        return ask_slurm("scontrol", "show", "hostnames", nodes).split() if running else []
    except (JobError, UserError):
        return None


def _is_ours(job: str) -> bool:
    """Returns whether this node is the one that requeues this start of the job: the first that says so."""
    folder = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent  # which all nodes of the job see
    try:
        make_new_folder(folder / f"first_node_lost.{job}.{os.environ.get('SLURM_RESTART_COUNT', 0)}")
    except FileExistsError:
        return False
    return True


def _submit_successor(say: Callable[[str], None], job: str) -> bool:
    """Returns whether the batch script is submitted again; notes the number of its job for `launch/slurm.py status`."""
    from fervit.io.files import write_text
    from fervit.slurm.submit import submit_script

    script = os.environ.get("FERVIT_SCRIPT")
    if not script:
        return False
    try:
        successor = submit_script(Path(script), f"--dependency=afterany:{job}")
        write_text(Path(os.environ["RAY_AUTH_TOKEN_PATH"]).with_name("job_id"), f"{successor}\n")
    except (JobError, UserError, OSError) as error:
        say(str(error))
        return False
    return True


def _does(say: Callable[[str], None], *words: str) -> bool:
    """Returns whether a command of Slurm does what it is asked to; says it if not."""
    from fervit.slurm.submit import ask_slurm

    try:
        ask_slurm(*words)
    except (JobError, UserError) as error:
        say(str(error))
        return False
    return True
