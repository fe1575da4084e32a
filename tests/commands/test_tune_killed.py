"""Kills a sweep at random moments. The same command must then resume it, and nothing may be lost or done twice."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from fervit.checkpoints.checkpoint import load_checkpoint
from fervit.cluster.nodes import Cluster
from fervit.evaluation.evaluate import evaluate
from fervit.latents import LatentSet
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.events import EpochEnded
from fervit.search.records.history import History
from fervit.search.records.journal import read_journal
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from tests.conftest import SMALL_SPACE
from tests.helpers.processes import DRIVER, NODE, TRIAL, Running, alone, descendants, kill, launch, send, wait_until
from tests.helpers.sweeps import leaderboard, sweep

pytestmark = pytest.mark.kills

VICTIMS = (TRIAL, TRIAL, DRIVER, TRIAL, TRIAL, DRIVER, TRIAL, TRIAL, DRIVER, NODE)
"""The processes that are killed: all of them with `make chaos`, and otherwise the last three.

The node is killed last, since its driver runs on for some 20 s.
"""


def one_at_a_time(trials: int = 14) -> dict[str, Any]:
    """Returns a space whose trials run one after the other."""
    raw: dict[str, Any] = yaml.safe_load(SMALL_SPACE)
    raw["search"] |= {
        "trials": trials,
        "sampler": "random",
    }  # the same ones in whichever order
    raw["early_stopping"] |= {"max_epochs": 12, "grace_epochs": 2}
    raw["fixed"]["batch_size"] = 8
    raw["trial"] = {"cpus": 2, "max_failures": 9}
    raw["confirm"] = {"top": 1, "seeds": 2}
    return raw


Start = Callable[[Path, Path], Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Returns a function that starts the command. After the test, all started commands are ended."""
    started: list[Running] = []

    def run(folder: Path, space: Path) -> Running:
        args = ("--space", space, "--latents", folder / "latents", "--resume")
        started.append(launch("tune", *args, cwd=folder, env=alone(RAY_ADDRESS="local")))
        return started[-1]

    yield run
    for driver in started:
        driver.kill()
        driver.ended()


def epochs_told(folder: Path) -> int:
    journals = list(folder.glob("experiments/*/trials.jsonl"))
    return journals[0].read_bytes().count(b'"epoch", "time"') if journals else 0


def epochs_of(folder: Path) -> list[EpochEnded]:
    """Returns the journal's epoch events in the order in which they were reported."""
    return [event for event in read_journal(SweepFolder(folder).journal) if isinstance(event, EpochEnded)]


def curves(folder: Path) -> dict[str, list[tuple[float, ...]]]:
    """Returns all numbers of each trial's epochs, without times."""
    names = ("train_loss", "train_accuracy", "val_loss", "f1_macro", "lr")
    records = History(read_journal(SweepFolder(folder).journal)).records.values()
    return {r.name: [tuple(getattr(epoch, name) for name in names) for epoch in r.epochs] for r in records}


def assert_decided_by_its_curves(folder: Path, space: SearchSpace) -> None:
    """Checks that every trial ended as ASHA decides if it gets the epochs in the order of the journal."""
    events = read_journal(SweepFolder(folder).journal)
    rule, history, stopped, seen = stopping_rule(space.early_stopping, space.metric), History(), set(), set()
    for event in events:
        record = history.apply(event)
        if not isinstance(event, EpochEnded) or record is None or record.purpose != "search":
            continue
        if (record.name, event.row.epoch) in seen:
            continue  # trained again after a kill
        seen.add((record.name, event.row.epoch))
        if rule.stops(record, event.best_value, event.row.f1_macro) and not record.finished:
            stopped.add(record.name)
    for record in history.records.values():
        assert [epoch.epoch for epoch in record.epochs] == list(range(1, len(record.epochs) + 1))
        if record.purpose == "search":
            assert record.state == ("stopped" if record.name in stopped else "finished")
    assert stopped


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("which", [VICTIMS[-3:], pytest.param(VICTIMS, marks=pytest.mark.chaos)], ids=len)
def test_killed_again_and_again_a_sweep_ends_with_every_trial_once_and_the_curves_of_an_undisturbed_one(
    start: Start, cluster: Cluster, latents_folder: Path, tmp_path: Path, which: tuple[str, ...]
) -> None:
    raw = one_at_a_time(trials=10 if len(which) < len(VICTIMS) else 30)
    space = parse_space(raw, "small.yaml")
    undisturbed = sweep(space, latents_folder, tmp_path / "undisturbed", cluster, [])
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))

    moments, victims = random.Random(5), list(which)
    driver = start(tmp_path, path)
    for _ in range(40):  # sessions, and deaths of a trial within one
        before = epochs_told(tmp_path)
        if victims and driver.reaches(lambda before=before: epochs_told(tmp_path) > before):  # type: ignore[misc]
            seen = time.monotonic()
            driver.reaches(lambda before=before: epochs_told(tmp_path) > before + 1)  # type: ignore[misc]
            # The kill comes at a random moment of the next epoch, at whatever speed this machine trains.
            time.sleep(moments.uniform(0.0, 1.5) * min(0.8, time.monotonic() - seen))
            victim = victims[0]
            if kill(victim, driver):
                victims.pop(0)
            if victim == TRIAL:
                continue
        output = driver.ended()
        assert "Traceback" not in output
        if driver.returncode == 0 and not victims:
            break
        assert driver.returncode != 0, "it was faster than its killers"
        driver = start(tmp_path, path)
    assert not victims
    assert driver.returncode == 0, output

    (folder,) = (tmp_path / "experiments").iterdir()
    rows = leaderboard(folder)
    assert sorted(int(row["trial"]) for row in rows if row["seed"] == "1") == list(range(space.search.trials))
    assert not any(row["failure"] for row in rows)
    assert_decided_by_its_curves(folder, space)
    # Which trials ASHA stops depends on their order, but the epochs that a trial has are equal bit for bit.
    expected = curves(undisturbed.folder)
    for name, curve in curves(folder).items():
        if name in expected:
            common = min(len(curve), len(expected[name]))
            assert curve[:common] == expected[name][:common]

    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "study.journal")))
    states = {"finished": "COMPLETE", "stopped": "PRUNED"}
    trials = optuna.load_study(study_name="small", storage=storage).trials
    of_row = {int(row["trial"]): states[row["state"]] for row in rows if row["seed"] == "1"}
    assert {trial.number: trial.state.name for trial in trials} == of_row

    (chosen,) = [row for row in rows if row["chosen"] == "yes"]
    again = evaluate(
        load_checkpoint(folder / "best" / "best_model.pt"),
        LatentSet.read(str(latents_folder / "val")),
        tmp_path / "again",
        split="val",
    )
    assert again.metrics["f1_macro"] == pytest.approx(float(chosen["f1_macro"]), abs=1e-6)
    assert not list(folder.rglob("last.pt"))
    assert len(json.loads((folder / "sealed_test.json").read_text())["looks"]) == 1


def test_ctrl_c_saves_and_says_how_to_go_on_and_twice_leaves_at_once(
    start: Start, latents_folder: Path, tmp_path: Path
) -> None:
    raw = one_at_a_time()
    raw["early_stopping"] |= {"scheduler": "none", "max_epochs": 400}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    driver = start(tmp_path, path)
    assert driver.reaches(lambda: epochs_told(tmp_path) > 3)
    driver.interrupt()
    output = driver.ended()
    assert driver.returncode == 130
    assert "Interrupted: 2 of 14 trials begun, 2 to go on" in output
    assert "Best so far: trial_0000, macro-F1" in output
    assert "--resume" in output.splitlines()[-1]
    assert "Traceback" not in output
    (folder,) = (tmp_path / "experiments").iterdir()
    assert list(csv.DictReader((folder / "leaderboard.csv").open()))
    assert not (folder / "evaluation").exists()
    last = epochs_of(folder)[-1]
    assert last.saved == last.row.epoch

    driver = start(tmp_path, path)
    epochs = epochs_told(tmp_path)
    assert driver.reaches(lambda: epochs_told(tmp_path) > epochs)
    epochs_of_trial = [event.row.epoch for event in epochs_of(folder)]
    assert epochs_of_trial == list(range(1, len(epochs_of_trial) + 1))  # it went on with the very next epoch
    below = descendants(driver.pid)
    assert send(TRIAL, signal.SIGSTOP, driver)  # so it will not save, for which one Ctrl-C waits
    driver.interrupt()
    assert driver.reaches(SweepFolder(folder).stop.exists)
    while driver.returncode is None:  # until one comes after those that count as one request
        driver.interrupt()
        time.sleep(0.1)
    output = driver.ended()
    assert driver.returncode == 130
    assert "Interrupted" not in output  # it did not stay to say so
    for pid in below:  # a process that stands still does not hear that its driver has gone
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
