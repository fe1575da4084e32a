"""A sweep on a real Slurm, whose jobs reach their time limit and go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from fervit.cluster.nodes import Cluster
from fervit.io.json_lines import read_rows
from fervit.search.records.events import EpochEnded, Event, SessionBegan
from fervit.search.records.history import History
from fervit.search.records.journal import read_journal
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.space_file import parse_space
from tests.helpers.hosts import wait_until
from tests.helpers.slurm import Slurm, events, log_of
from tests.helpers.sweeps import leaderboard, sweep
from tests.helpers.time_limits import CUT, CUTS, LIMIT, begin, cut_each, space_of

pytestmark = pytest.mark.slurm


def curves(folder: Path) -> dict[str, list[tuple[float, ...]]]:
    names = ("train_loss", "val_loss", "f1_macro", "lr")
    records = History(read_journal(SweepFolder(folder).journal)).records.values()
    return {r.name: [tuple(getattr(epoch, name) for name in names) for epoch in r.epochs] for r in records}


def jobs_and_log(slurm: Slurm, job: str, folder: Path) -> str:
    return (folder / "slurm" / "jobs.jsonl").read_text() + slurm.said_of(job) + log_of(folder)[-6000:]


def seconds_to_epochs(folder: Path, told: list[Event]) -> list[float]:
    """Returns the seconds from each start of the job to the first epoch that a trial then reported."""
    began = [row["time"] for row in read_rows(folder / "slurm" / "jobs.jsonl") if row["event"] == "began"]
    epochs = [event.time for event in told if isinstance(event, EpochEnded)]
    return [round(min((at for at in epochs if at > start), default=start) - start, 1) for start in began]


def check_all(
    slurm: Slurm, job: str, folder: Path, raw: dict[str, Any], cuts: Sequence[str], undisturbed: Path, cluster: Cluster
) -> list[float]:
    """Compares a sweep that was cut with an undisturbed one.

    Returns the seconds from each start of the job to the first epoch.
    """
    assert slurm.ended(job) == "COMPLETED", log_of(folder)[-3000:]
    starts = Counter(events(folder))["began"]
    assert events(folder) == ["began", "paused"] * (starts - 1) + ["began", "ended"], jobs_and_log(slurm, job, folder)
    assert starts > len(cuts)

    told = read_journal(SweepFolder(folder).journal)
    sessions = [event.job for event in told if isinstance(event, SessionBegan)]
    assert sessions[0].startswith(f"slurm {job}, start ")
    assert sessions[-1] == f"slurm {job}, start {starts}"
    undisturbed.mkdir()
    whole = sweep(parse_space(raw, "cut.yaml"), slurm.share / "latents", undisturbed / "cut", cluster, [])
    assert curves(folder) == curves(whole.folder)
    assert [(row["trial"], row["f1_macro"], row["state"]) for row in leaderboard(folder)] == [
        (row["trial"], row["f1_macro"], row["state"]) for row in leaderboard(whole.folder)
    ]
    assert (folder / "best" / "best_model.pt").is_file()
    assert (folder / "report.html").is_file()
    return seconds_to_epochs(folder, told)


@pytest.mark.chaos  # most of an hour
@pytest.mark.timeout(7200)
def test_a_sweep_of_one_node_goes_on_after_twenty_time_limits(
    slurm: Slurm, cluster: Cluster, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    raw, cuts = space_of("cut_often", epochs=40), (LIMIT,) * 20
    job, folder = begin(slurm, raw, nodes=1, minutes=3)
    cut_each(slurm, job, folder, cuts)
    seconds = check_all(slurm, job, folder, raw, cuts, tmp_path / "undisturbed", cluster)
    measured(f"seconds from each start of a job of one node to its first epoch: {seconds}")
    assert wait_until(lambda: slurm.left_over() == [], 60), slurm.left_over()


def test_a_sweep_of_three_nodes_goes_on_after_its_time_limit(
    cut_sweep: Future[tuple[str, Path]],
    slurm: Slurm,
    cluster: Cluster,
    tmp_path: Path,
    measured: Callable[[str], None],
) -> None:
    """It began with the first test of a Slurm, so that its limit passes beside the others. A second cut is by the
    signal alone, which is all that Slurm sends at a limit."""
    job, folder = cut_sweep.result()
    seconds = check_all(slurm, job, folder, CUT, CUTS, tmp_path / "undisturbed", cluster)
    measured(f"seconds from each start of a job of three nodes to its first epoch: {seconds}")
    told = read_journal(SweepFolder(folder).journal)
    assert len({event.node for event in told if isinstance(event, EpochEnded)}) == 3
    assert wait_until(lambda: slurm.left_over() == [], 60), slurm.left_over()
