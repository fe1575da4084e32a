"""A sweep on a real Slurm, whose jobs reach their time limit and go on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fervit.cluster.nodes import Cluster
from fervit.io.json_lines import read_rows
from fervit.search.records.events import EpochEnded, Event, SessionBegan
from fervit.search.records.history import History
from fervit.search.records.journal import read_journal
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.space_file import parse_space
from tests.conftest import ROOT, SMALL_SPACE, write_splits
from tests.helpers.host_sweeps import epochs_of
from tests.helpers.hosts import host_at, wait_until
from tests.helpers.slurm import Slurm, events, log_of
from tests.helpers.sweeps import leaderboard, sweep

pytestmark = [pytest.mark.slurm, pytest.mark.chaos]  # minutes of waiting for Slurm, whose limits are whole minutes

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


def curves(folder: Path) -> dict[str, list[tuple[float, ...]]]:
    names = ("train_loss", "val_loss", "f1_macro", "lr")
    records = History(read_journal(SweepFolder(folder).journal)).records.values()
    return {r.name: [tuple(getattr(epoch, name) for name in names) for epoch in r.epochs] for r in records}


def seconds_to_epochs(folder: Path, told: list[Event]) -> list[float]:
    """Returns the seconds from each start of the job to the first epoch that a trial then reported."""
    began = [row["time"] for row in read_rows(folder / "slurm" / "jobs.jsonl") if row["event"] == "began"]
    epochs = [event.time for event in told if isinstance(event, EpochEnded)]
    return [round(min((at for at in epochs if at > start), default=start) - start, 1) for start in began]


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


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("nodes", "cuts"), [(3, (LIMIT, SIGNAL)), (1, (LIMIT,) * 20)], ids=["3 nodes, 2 cuts", "1 node, 20 cuts"]
)
def test_a_sweep_goes_on_after_each_time_limit(
    slurm: Slurm, cluster: Cluster, tmp_path: Path, nodes: int, cuts: tuple[str, ...], measured: Callable[[str], None]
) -> None:
    """A limit is two minutes, with the notice a minute before. The signal alone comes as soon as trials have begun."""
    raw = space_of("cut", epochs=10 if len(cuts) == 2 else 40)
    if not (slurm.share / "latents").is_dir():
        write_splits(slurm.share / "latents")
    (slurm.share / "cut.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    job, folder = slurm.launch(
        f"tune --space cut.yaml --latents latents --nodes {nodes} --cpus_per_node 1 --time 2 --save_before 60"
    )
    (slurm.share / "cut.yaml").unlink()  # the job keeps a copy
    since = 0.0
    for i, how in enumerate(cuts):
        since = cut(slurm, job, folder, how, since)
        if how not in cuts[i + 1 :]:  # the rest is not cut by limits, however slow this machine is
            slurm.run(f"scontrol update jobid={job} timelimit=60")
    assert slurm.ended(job) == "COMPLETED", log_of(folder)[-3000:]
    starts = Counter(events(folder))["began"]
    assert events(folder) == ["began", "paused"] * (starts - 1) + ["began", "ended"]
    assert starts > len(cuts)

    told = read_journal(SweepFolder(folder).journal)
    sessions = [event.job for event in told if isinstance(event, SessionBegan)]
    assert sessions[0].startswith(f"slurm {job}, start ")
    assert sessions[-1] == f"slurm {job}, start {starts}"
    assert len({e.node for e in told if isinstance(e, EpochEnded)}) == nodes
    measured(f"seconds from each start of a job of {nodes} nodes to its first epoch: {seconds_to_epochs(folder, told)}")
    (tmp_path / "undisturbed").mkdir()
    whole = sweep(parse_space(raw, "cut.yaml"), slurm.share / "latents", tmp_path / "undisturbed" / "cut", cluster, [])
    assert curves(folder) == curves(whole.folder)
    assert [(row["trial"], row["f1_macro"], row["state"]) for row in leaderboard(folder)] == [
        (row["trial"], row["f1_macro"], row["state"]) for row in leaderboard(whole.folder)
    ]
    assert (folder / "best" / "best_model.pt").is_file()
    assert (folder / "report.html").is_file()
    assert wait_until(lambda: slurm.left_over() == [], 60), slurm.left_over()
