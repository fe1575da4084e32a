"""Sweeps that a Slurm cuts at their time limit, which comes while their trials are held."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fervit.search.records.sweep_folder import SweepFolder
from tests.conftest import ROOT, SMALL_SPACE, write_splits
from tests.helpers.host_sweeps import epochs_of
from tests.helpers.hosts import host_at, wait_until
from tests.helpers.slurm import Slurm, events, log_of

NEAR = "the time limit is near"
LIMIT, SIGNAL = "limit", "signal"


def space_of(name: str, epochs: int) -> dict[str, Any]:
    """Returns a space whose trials are the same in whichever order they run."""
    raw: dict[str, Any] = yaml.safe_load(SMALL_SPACE)
    raw["name"] = name
    raw["search"] |= {"trials": 4, "sampler": "random"}
    raw["early_stopping"] = {"scheduler": "none", "max_epochs": epochs}
    raw["fixed"]["batch_size"] = 4
    raw["confirm"] = {"top": 1, "seeds": 2}
    return raw


CUT = space_of("cut", epochs=10)
CUTS = (LIMIT, SIGNAL)


def hold(slurm: Slurm, job: str, folder: Path, since: float) -> list[tuple[int, int]]:
    """Stops the processes of trials that have saved since a time, so that the sweep does not end before it is cut.

    Returns the host and the process id of each. There is at least one.
    """
    held: list[tuple[int, int]] = []

    def some_held() -> bool:
        for event in epochs_of(folder) if SweepFolder(folder).journal.is_file() else ():
            process = (host_at(event["node"]), event["pid"])
            if event["time"] > since and event["saved"] and process not in held:
                slurm.hosts.run(process[0], ["kill", "-STOP", str(process[1])])
                held.append(process)
        return bool(held) or slurm.over(job)

    assert wait_until(some_held), log_of(folder)[-3000:]
    return held


def cut(slurm: Slurm, job: str, folder: Path, how: str, since: float) -> float:
    """Lets the time limit, or its signal, come while trials are held, and returns the time of the pause."""
    paused, notices = Counter(events(folder))["paused"], log_of(folder).count(NEAR)
    held = hold(slurm, job, folder, since)
    if how == SIGNAL:
        status = slurm.run(f"python {ROOT}/launch/slurm.py status {folder}")
        assert f"{job}: RUNNING on fer" in status, log_of(folder)[-3000:]
        assert "paused" in status
        assert "running, of 4" in status
        slurm.run(f"scancel --batch --signal=USR1 {job}")
    assert wait_until(lambda: log_of(folder).count(NEAR) > notices), log_of(folder)[-3000:]
    for host, pid in held:
        slurm.hosts.run(host, ["kill", "-CONT", str(pid)])
    assert wait_until(lambda: Counter(events(folder))["paused"] > paused), log_of(folder)[-3000:]
    return time.time()


def begin(slurm: Slurm, raw: dict[str, Any], nodes: int, minutes: int) -> tuple[str, Path]:
    """Submits a sweep with a notice a minute before its time limit, and returns the job's number and the folder."""
    if not (slurm.share / "latents").is_dir():
        write_splits(slurm.share / "latents")
    space = slurm.share / f"{raw['name']}.yaml"
    space.write_text(yaml.safe_dump(raw, sort_keys=False))
    limits = f"--cpus_per_node 1 --time {minutes} --save_before 60"
    started = slurm.launch(f"tune --space {space.name} --latents latents --nodes {nodes} {limits}")
    space.unlink()  # the job keeps a copy
    return started


def cut_each(slurm: Slurm, job: str, folder: Path, cuts: Sequence[str]) -> None:
    since = 0.0
    for i, how in enumerate(cuts):
        since = cut(slurm, job, folder, how, since)
        if how not in cuts[i + 1 :]:  # the rest is not cut by limits, however slow this machine is
            slurm.run(f"scontrol update jobid={job} timelimit=60")
