from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from fervit.search.ledger import Ledger
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import SearchSource
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.events import EpochEnded
from fervit.search.records.journal import JournalFile, read_journal
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.replay import Curves, Told, read_recording, replay
from fervit.search.simulated import Curve, VirtualClock, run_simulated
from fervit.search.space.space_file import parse_space
from tests.helpers.epochs import epoch_result

SPACE: dict[str, Any] = {
    "name": "recorded",
    "search": {"sampler": "tpe", "trials": 30, "seed": 7},
    "early_stopping": {"max_epochs": 4, "grace_epochs": 1, "reduction_factor": 2, "scheduler": "none"},
    "parameters": {
        "lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-1},
        "dropout": {"distribution": "uniform", "min": 0.0, "max": 0.5},
    },
}
SLOTS = 2


def curve_of(planned: Planned) -> Curve:
    """Makes a curve that is better the nearer lr is to 1e-3 and dropout to 0.2. Its epochs differ in length."""
    lr, dropout = planned.params["lr"], planned.params["dropout"]
    best = 1 - 0.1 * (math.log10(lr) + 3) ** 2 - (dropout - 0.2) ** 2
    return [epoch_result(i, f1_macro=best * i / 4, seconds=1 + dropout) for i in range(1, 5)]


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The folder of a sweep whose trials have all their epochs."""
    space, folder, clock = parse_space(SPACE, "s.yaml"), SweepFolder(tmp_path), VirtualClock()
    folder.write_space(space)
    rule = stopping_rule(space.early_stopping, space.metric)
    ledger = Ledger(space, JournalFile(folder.journal), rule, clock=clock)
    ledger.use(SearchSource(space, SpaceSampler(space)))
    run_simulated(ledger, curve_of, clock, slots=SLOTS)
    ledger.close()
    return tmp_path


@pytest.mark.parametrize("epochs", [1, 17, 40, 120])
def test_with_the_recorded_policy_a_replay_finds_what_the_sweep_found_by_then(recorded: Path, epochs: int) -> None:
    found = replay(read_recording(recorded), sampler="tpe", scheduler="none", seed=7, epochs=epochs, slots=SLOTS)
    events = [e for e in read_journal(SweepFolder(recorded).journal) if isinstance(e, EpochEnded)][:epochs]
    assert found.epochs == epochs
    assert found.best == max(event.row.f1_macro for event in events)
    assert found.trials == len({event.name for event in events})
    assert found.stopped == 0


def test_another_policy_has_the_same_budget_and_stops_trials(recorded: Path) -> None:
    recording = read_recording(recorded)
    found = replay(recording, sampler="random", scheduler="asha", seed=1, epochs=40, slots=SLOTS)
    assert found.epochs == 40
    assert 0 < found.stopped < found.trials
    assert 0 < found.best <= max(curve.epochs[-1].f1_macro for curve in recording.trials)


def test_as_optunasearch_the_sampler_hears_that_stopped_trials_are_complete(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[SpaceSampler] = []

    class Kept(SpaceSampler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr("fervit.search.replay.SpaceSampler", Kept)
    ways: tuple[Told, ...] = ("fervit", "optunasearch")
    for told in ways:
        replay(read_recording(recorded), sampler="tpe", scheduler="asha", seed=2, epochs=45, slots=SLOTS, told=told)
    ours, theirs = ({trial.state.name for trial in sampler.trials} for sampler in made)
    assert ours - {"FAIL"} == {"COMPLETE", "PRUNED"}  # FAIL, which samplers ignore, are those that the end cut
    assert "PRUNED" not in theirs
    reported = [max(trial.intermediate_values, default=0) for trial in made[1].trials]
    assert max(reported) == 3  # the report that ends a trial is never passed on


def test_each_trial_is_judged_by_the_warm_up_of_its_recorded_curve(tmp_path: Path) -> None:
    """The rule passes over epochs of warm-up. A trial that asked for none got a curve that was recorded with two."""
    raw = SPACE | {"parameters": {"warmup_epochs": {"values": [0, 2]}, **SPACE["parameters"]}}
    space, folder, clock = parse_space(raw, "s.yaml"), SweepFolder(tmp_path), VirtualClock()
    folder.write_space(space)
    ledger = Ledger(space, JournalFile(folder.journal), stopping_rule(space.early_stopping, space.metric), clock=clock)
    ledger.use(SearchSource(space, SpaceSampler(space)))
    run_simulated(ledger, curve_of, clock, slots=SLOTS)
    ledger.close()
    recording = read_recording(tmp_path)
    warm_ups = [trial.warmup_epochs for trial in recording.trials]
    assert set(warm_ups) == {0, 2}
    curves = Curves(recording)
    for number, trial in enumerate(recording.trials):
        asked = space.config({**trial.params, "warmup_epochs": 2 - warm_ups[number]})  # the nearest one that is left
        planned = Planned(number=number, name=f"trial_{number}", params=trial.params, config=asked)
        assert curves.assigned(planned).config.warmup_epochs == warm_ups[number]
