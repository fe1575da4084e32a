"""Says how a job is doing: its starts, its time limit, and the trials of its sweep."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from fervit.errors import JobError, UserError
from fervit.io.files import near
from fervit.progress import clock
from fervit.search.records.history import History
from fervit.search.records.journal import read_journal
from fervit.search.records.ranking import ranked
from fervit.search.records.sweep_folder import SweepFolder
from fervit.slurm.jobs import Queued, Start, gpu_hours, queued, starts_of
from fervit.slurm.script import JobFiles
from fervit.system.program import called


def status_lines(folder: Path) -> list[str]:
    """Returns lines about a sweep, a run or an encoding that `launch/slurm.py` submitted.

    Args:
        folder: its folder in experiments/.

    Raises:
        UserError: the folder is none of a job.
    """
    files = JobFiles(folder.absolute())
    if not files.path.is_dir():
        raise UserError(f"{folder}: has no {files.path.name}/; give the folder that {called('slurm')} named")
    lines = [f"folder     {near(files.folder)}", *_job_lines(files), *_sweep_lines(SweepFolder(files.folder))]
    return [*lines, f"log        tail -F {near(files.log)}"]


def _job_lines(files: JobFiles) -> list[str]:
    starts = starts_of(files.jobs)
    last = starts[-1] if starts else None
    answers = True
    try:
        job, known = _newest(files, last)
    except (JobError, UserError) as error:
        job, known, answers = last.job if last else _submitted(files), None, False
        text = f"Slurm does not answer ({error})"
    else:
        text = _words_of(known, last if last and last.job == job else None)
    if not job:
        return [f"job        not submitted yet: sbatch {near(files.script)}"]
    running = known is not None and known.state == "RUNNING" and last is not None and last.job == job
    lines = [f"job        {job}: {text}"]
    for start in starts:
        until = start.ended if start.ended is not None else time.time() if running else start.began
        how = start.how or ("running" if running else "cut off" if answers else "its end is not noted")
        lines.append(
            f"  start    {start.job}.{start.restart + 1}: {start.nodes} nodes, {clock(until - start.began)}, {how}"
        )
    return [*lines, f"GPU-hours  {gpu_hours(starts, running):.2f}"]


def _newest(files: JobFiles, last: Start | None) -> tuple[str, Queued | None]:
    """Returns the number of the latest job, which may not have begun yet, and what Slurm knows of it.

    A script that was given to sbatch by hand leaves no number before it begins.
    """
    submitted = _submitted(files)
    if last is None:
        return submitted, queued(submitted) if submitted else None
    if not submitted or int(submitted) <= int(last.job):
        return last.job, queued(last.job)
    known = queued(last.job) if not last.how else None
    if known is not None and known.state in ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED"):
        return last.job, known
    return submitted, queued(submitted)


def _submitted(files: JobFiles) -> str:
    """Returns the number of the job that was submitted last; "" if none is noted."""
    path = files.path / "job_id"
    text = path.read_text().strip() if path.is_file() else ""
    return text if text.isdecimal() else ""


def _words_of(known: Queued | None, last: Start | None) -> str:
    """Returns what Slurm says of a job.

    Args:
        known: what Slurm knows.
        last: the last start of this job; None if it has not begun.
    """
    if known is None:
        return "Slurm no longer knows it" + (f"; {last.how}" if last and last.how else "")
    if known.state == "RUNNING":
        left = f", {clock(max(0.0, known.ends - time.time()))} to the next time limit" if known.ends else ""
        return f"{known.state} on {known.nodes}{left}"
    return f"{known.state} ({known.reason})"


def _sweep_lines(folder: SweepFolder) -> list[str]:
    if not folder.journal.is_file() or not folder.space.is_file():
        return []
    space = folder.read_space()
    records = list(History(read_journal(folder.journal)).records.values())
    states = Counter(record.state for record in records if record.purpose == "search")
    counted = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    lines = [f"trials     {counted or 'none yet'}, of {space.search.trials}"]
    again = [record for record in records if record.purpose == "confirm"]
    if again:
        lines.append(f"confirmed  {sum(record.state != 'running' for record in again)} of {len(again)} begun reruns")
    folds = [record for record in records if record.purpose == "fold"]
    if folds:
        lines.append(f"folds      {sum(record.state != 'running' for record in folds)} of {len(folds)} begun")
    best = next(iter(ranked([r for r in records if r.purpose == "search"], space.metric)), None)
    epoch = best.best(space.metric) if best else None
    if best and epoch:
        lines.append(
            f"best       {space.metric.name} {space.metric.value(epoch):.4f} ({best.name}, epoch {epoch.epoch})"
        )
    return lines
