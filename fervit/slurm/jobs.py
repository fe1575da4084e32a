"""The jobs of a sweep or a run, which `clusters/slurm.sh` lists in jobs.jsonl, and what Slurm says of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fervit.errors import JobError
from fervit.io.json_lines import Row, read_rows
from fervit.slurm.submit import ask_slurm


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of a job, to its pause or its end."""

    job: str
    restart: int
    nodes: int
    gpus: int
    began: float
    ended: float | None
    how: str
    """ "paused", "ended" with its status, "cut off" if nothing was said, or "" while it may still run."""


def starts_of(path: Path) -> list[Start]:
    """Reads jobs.jsonl. A start whose end was not noted ended at latest when the next one began.

    Args:
        path: the path of jobs.jsonl, which may be missing.
    """
    rows = read_rows(path, damaged="skip")
    starts: list[Start] = []
    for i, row in enumerate(rows):
        if row["event"] != "began":
            continue
        after = rows[i + 1] if i + 1 < len(rows) else None
        starts.append(_start(row, after))
    return starts


def _start(row: Row, after: Row | None) -> Start:
    how = "" if after is None else "cut off"
    if after is not None and after["event"] != "began":
        how = "paused" if after["event"] == "paused" else f"ended with status {after['status']}"
    return Start(
        job=row["job"],
        restart=row["restart"],
        nodes=row["nodes"],
        gpus=row["gpus"],
        began=row["time"],
        ended=after["time"] if after is not None else None,
        how=how,
    )


@dataclass(frozen=True, kw_only=True)
class Queued:
    """What Slurm knows of a job."""

    state: str
    nodes: str
    ends: float | None
    """The Unix time of its time limit; None if it is not running."""
    reason: str


def queued(job: str) -> Queued | None:
    """Asks Slurm for a job; None if it knows none of this number (any more).

    Raises:
        UserError: there is no Slurm here.
        JobError: Slurm does not answer.
    """
    try:
        answer = ask_slurm("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T|%N|%e|%r")
    except JobError as error:
        if "Invalid job id" in str(error):
            return None
        raise
    line = next((line for line in answer.splitlines() if line.count("|") >= 3), "")
    if not line:
        return None
    state, nodes, ends, reason = line.strip().split("|", 3)
    try:
        limit = datetime.fromisoformat(ends).timestamp() if state == "RUNNING" else None
    except ValueError:
        limit = None
    return Queued(state=state, nodes=nodes, ends=limit, reason=reason)


def gpu_hours(starts: Sequence[Start], running: bool) -> float:
    """Returns the GPU-hours of all starts, whose GPUs are those of the first node on each node.

    Args:
        starts: the starts in order.
        running: whether the last one still runs.
    """
    total = 0.0
    for start in starts:
        until = start.ended if start.ended is not None else time.time() if running else start.began
        total += (until - start.began) * start.nodes * start.gpus / 3600
    return total
