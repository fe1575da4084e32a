"""Says how a job is doing: its starts, its time limit, and the trials of its sweep."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fervit.errors import JobError, UserError
from fervit.io.files import near
from fervit.progress import clock
from fervit.search.records.history import History
from fervit.search.records.journal import read_journal
from fervit.search.records.ranking import ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.slurm.jobs import Queued, Start, gpu_hours, queued, starts_of
from fervit.slurm.script import JobFiles
from fervit.system.program import called


@dataclass(frozen=True, kw_only=True)
class StartStatus:
    """One start of a job."""

    job: str
    number: int
    """1 for the first start of this job."""
    nodes: int
    seconds: float
    how: str
    """ "running", "paused", "ended" with its status, or "cut off"; "its end is not noted" if Slurm is silent."""


@dataclass(frozen=True, kw_only=True)
class BestTrial:
    """The best trial of a search so far."""

    trial: str
    metric: str
    value: float
    epoch: int


@dataclass(frozen=True, kw_only=True)
class SweepStatus:
    """How far a sweep has come."""

    trials: dict[str, int]
    """The number of trials in each state."""
    planned: int
    """The number of trials that the space asks for."""
    confirmed: int
    """The number of reruns with fresh seeds that have ended."""
    confirmations_begun: int
    folds: int
    """The number of trainings over folds that have ended."""
    folds_begun: int
    best: BestTrial | None


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """How a job is doing."""

    folder: Path
    job: str
    """Its number; "" if it is not submitted yet."""
    state: str
    """Its state as Slurm names it; "" if Slurm does not know it, or no longer."""
    nodes: str
    """The nodes that it runs on."""
    reason: str
    """Why it waits."""
    unanswered: str
    """Why Slurm could not be asked; "" if it answered."""
    seconds_left: float | None
    """The time to the next time limit; null if it does not run."""
    starts: list[StartStatus]
    gpu_hours: float
    sweep: SweepStatus | None
    """The trials of its sweep; null for another job, or before the first trial."""
    log: Path


def status_of(folder: Path) -> JobStatus:
    """Finds out how a sweep, a run or an encoding is doing that `launch/slurm.py` submitted.

    Args:
        folder: its folder in experiments/.

    Raises:
        UserError: the folder is none of a job.
    """
    files = JobFiles(folder.absolute())
    if not files.path.is_dir():
        raise UserError(f"{folder}: has no {files.path.name}/; give the folder that {called('slurm')} named")
    starts = starts_of(files.jobs)
    last = starts[-1] if starts else None
    silent = ""
    try:
        job, known = _newest(files, last)
    except (JobError, UserError) as error:
        job, known, silent = last.job if last else _submitted(files), None, str(error)
    running = known is not None and known.state == "RUNNING" and last is not None and last.job == job
    return JobStatus(
        folder=files.folder,
        job=job,
        state=known.state if known else "",
        nodes=known.nodes if known else "",
        reason=known.reason if known else "",
        unanswered=silent,
        seconds_left=max(0.0, known.ends - time.time()) if known and known.ends else None,
        starts=[_start_status(start, running=running, answers=not silent) for start in starts],
        gpu_hours=gpu_hours(starts, running),
        sweep=_sweep_status(SweepFolder(files.folder)),
        log=files.log,
    )


def _start_status(start: Start, *, running: bool, answers: bool) -> StartStatus:
    until = start.ended if start.ended is not None else time.time() if running else start.began
    how = start.how or ("running" if running else "cut off" if answers else "its end is not noted")
    return StartStatus(job=start.job, number=start.restart + 1, nodes=start.nodes, seconds=until - start.began, how=how)


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


def _sweep_status(folder: SweepFolder) -> SweepStatus | None:
    if not folder.journal.is_file() or not folder.space.is_file():
        return None
    space = folder.read_space()
    by_purpose: dict[str, list[TrialRecord]] = {"search": [], "confirm": [], "fold": []}
    for record in History(read_journal(folder.journal)).records.values():
        by_purpose.setdefault(record.purpose, []).append(record)
    ended = {purpose: sum(one.state != "running" for one in records) for purpose, records in by_purpose.items()}
    best = next(iter(ranked(by_purpose["search"], space.metric)), None)
    epoch = best.best(space.metric) if best else None
    return SweepStatus(
        trials=dict(sorted(Counter(record.state for record in by_purpose["search"]).items())),
        planned=space.search.trials,
        confirmed=ended["confirm"],
        confirmations_begun=len(by_purpose["confirm"]),
        folds=ended["fold"],
        folds_begun=len(by_purpose["fold"]),
        best=BestTrial(trial=best.name, metric=space.metric.name, value=space.metric.value(epoch), epoch=epoch.epoch)
        if best and epoch
        else None,
    )


def status_lines(status: JobStatus) -> list[str]:
    """Returns lines about a job, for the screen."""
    lines = [f"folder     {near(status.folder)}", *_job_lines(status)]
    if status.sweep is not None:
        lines += _sweep_lines(status.sweep)
    return [*lines, f"log        tail -F {near(status.log)}"]


def _job_lines(status: JobStatus) -> list[str]:
    if not status.job:
        return [f"job        not submitted yet: sbatch {near(JobFiles(status.folder).script)}"]
    if status.unanswered:
        text = f"Slurm does not answer ({status.unanswered})"
    elif not status.state:
        how = status.starts[-1].how if status.starts and status.starts[-1].job == status.job else ""
        text = "Slurm no longer knows it" + (f"; {how}" if how else "")
    elif status.state == "RUNNING":
        left = f", {clock(status.seconds_left)} to the next time limit" if status.seconds_left is not None else ""
        text = f"{status.state} on {status.nodes}{left}"
    else:
        text = f"{status.state} ({status.reason})"
    lines = [f"job        {status.job}: {text}"]
    lines += [
        f"  start    {start.job}.{start.number}: {start.nodes} nodes, {clock(start.seconds)}, {start.how}"
        for start in status.starts
    ]
    return [*lines, f"GPU-hours  {status.gpu_hours:.2f}"]


def _sweep_lines(sweep: SweepStatus) -> list[str]:
    counted = ", ".join(f"{n} {state}" for state, n in sweep.trials.items())
    lines = [f"trials     {counted or 'none yet'}, of {sweep.planned}"]
    if sweep.confirmations_begun:
        lines.append(f"confirmed  {sweep.confirmed} of {sweep.confirmations_begun} begun reruns")
    if sweep.folds_begun:
        lines.append(f"folds      {sweep.folds} of {sweep.folds_begun} begun")
    if (best := sweep.best) is not None:
        lines.append(f"best       {best.metric} {best.value:.4f} ({best.trial}, epoch {best.epoch})")
    return lines
