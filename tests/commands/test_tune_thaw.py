"""A sweep whose trials pause and go on is killed; the same command goes on, and decides as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fervit.cluster.nodes import Cluster
from fervit.search.records.events import TrialPaused, TrialReturned, TrialsExpected
from fervit.search.records.history import History
from fervit.search.records.journal import read_journal
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.space_file import parse_space
from tests.conftest import SMALL_SPACE
from tests.helpers.processes import DRIVER, alone, kill, launch
from tests.helpers.sweeps import leaderboard, sweep


def thawed(trials: int) -> dict[str, Any]:
    """Returns a space whose trials run one after the other, and pause."""
    raw: dict[str, Any] = yaml.safe_load(SMALL_SPACE)
    raw["search"] |= {"trials": trials, "sampler": "random"}
    raw["early_stopping"] = {"scheduler": "thaw", "max_epochs": 8, "max_paused": 3}
    raw["parameters"] = {"lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-1}}
    raw["fixed"]["batch_size"] = 8
    raw["trial"] = {"cpus": 2}
    return raw


def decided(folder: Path) -> list[tuple[str, str, int]]:
    """Returns what the journal says of pauses and returns, in order."""
    events = read_journal(SweepFolder(folder).journal)
    return [(type(e).__name__, e.name, e.epoch) for e in events if isinstance(e, TrialPaused | TrialReturned)]


@pytest.mark.parametrize(
    ("kills", "trials"), [pytest.param(1, 6, marks=pytest.mark.long), pytest.param(10, 14, marks=pytest.mark.chaos)]
)
@pytest.mark.timeout(1800)
def test_killed_among_its_pauses_a_sweep_goes_on_and_decides_as_an_undisturbed_one(
    kills: int, trials: int, cluster: Cluster, latents_folder: Path, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    raw = thawed(trials)
    undisturbed = sweep(parse_space(raw, "small.yaml"), latents_folder, tmp_path / "undisturbed", cluster, [])
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))

    def returns() -> int:
        journals = list(tmp_path.glob("experiments/*/trials.jsonl"))
        return journals[0].read_bytes().count(b'"returned"') if journals else 0

    args = ("--space", path, "--latents", latents_folder, "--resume")
    in_all = sum(kind == "TrialReturned" for kind, _, _ in decided(undisturbed.folder))
    assert in_all > kills
    for enough in (*(1 + i * in_all // (kills + 1) for i in range(kills)), None):
        driver = launch("tune", *args, cwd=tmp_path, env=alone(RAY_ADDRESS="local"))
        try:
            if enough is not None:
                assert driver.reaches(lambda enough=enough: returns() >= enough)  # type: ignore[misc]
                assert kill(DRIVER, driver)
            output = driver.ended()
        finally:
            driver.kill()
            driver.ended()
        assert "Traceback" not in output
    assert driver.returncode == 0, output

    (folder,) = (tmp_path / "experiments").iterdir()
    assert decided(folder) == decided(undisturbed.folder)
    assert any(epoch for kind, _, epoch in decided(folder) if kind == "TrialReturned")
    records = History(read_journal(SweepFolder(folder).journal)).records.values()
    assert all(record.state in ("finished", "stopped") for record in records)
    assert {record.name: len(record.epochs) for record in records} == {
        record.name: len(record.epochs) for record in undisturbed.records
    }
    measured(f"{kills} kills of a sweep with {in_all} returns of paused trials: as undisturbed")
    rows = leaderboard(folder)
    assert all(("%" in row["why"]) == (row["state"] == "stopped") for row in rows)
    (expected,) = [one.values for one in read_journal(SweepFolder(folder).journal) if isinstance(one, TrialsExpected)]
    assert expected == {record.name: pytest.approx(record.expected) for record in undisturbed.records if record.epochs}
    shown = {f"trial_{int(row['trial']):04}": float(row["expected"]) for row in rows if row["expected"]}
    assert shown == pytest.approx(expected, abs=1e-6)
    assert not list(folder.rglob("last.pt"))
