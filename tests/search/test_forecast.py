from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from fervit.search.forecast import Span, epochs_a_trial, forecast
from fervit.search.records.record import TrialRecord
from fervit.search.space.space_file import parse_space, read_space
from tests.conftest import ROOT
from tests.helpers.records import trial
from tests.helpers.simulated_sweeps import simulate, space_of


def test_the_forecast_of_asha_is_from_every_rung_kept_to_no_trial_stopped() -> None:
    space = read_space(ROOT / "search_spaces" / "vit.yaml")
    # At least 6 epochs for all, 12 more for a third, 36 more for a ninth, 6 more for a 27th.
    span = epochs_a_trial(space)
    assert span.low == pytest.approx(6 + 12 / 3 + 36 / 9 + 6 / 27)
    assert span.high == 60
    expected = forecast(space, running=2, rows=28_709)
    assert expected.parameters == pytest.approx(67e6, rel=0.1)  # depth 12, width 768
    whole = 60 * space.confirm.top * space.confirm.seeds
    assert 64 * 10 + whole < expected.epochs.low < 64 * span.low + whole  # of 64 trials, fewer may pass by chance
    assert expected.epochs.high >= 64 * 60 + whole


def test_the_disk_is_forecast_with_what_is_written_aside_and_exported() -> None:
    space = space_of("tpe", "asha", 0, 64, confirm={"top": 3, "seeds": 2}, budget={"until_noise": True})
    expected = forecast(space, running=4, rows=1000)
    models = 3 + 1 + (3 + 1) * 2 + 3  # the best, the baseline, the reruns of these, those that measure the noise
    exported = 2  # best/ holds the model twice: best_model.pt and model.safetensors
    running = 4 * 2 * (1 + 4)  # the best model and the state of four weights each, twice while being replaced
    assert expected.checkpoint_bytes == 4 * expected.parameters * (models + exported + running)


def test_the_disk_is_forecast_with_the_trials_that_may_pause() -> None:
    asha, thaw = (space_of("random", scheduler, 0, 64) for scheduler in ("asha", "thaw"))
    without, expected = (forecast(space, running=4, rows=1000) for space in (asha, thaw))
    paused = expected.checkpoint_bytes - without.checkpoint_bytes
    assert paused == 24 * (1 + 4) * 4 * expected.parameters  # of each the best model and a state of four weights
    few = forecast(space_of("random", "thaw", 0, 5), running=4, rows=1000)
    assert few.checkpoint_bytes - without.checkpoint_bytes == 5 * (1 + 4) * 4 * expected.parameters


def test_brackets_a_warm_up_and_a_patience_count() -> None:
    asha, hyperband = (epochs_a_trial(space_of("random", name, 0, 64)) for name in ("asha", "hyperband"))
    assert asha.low < hyperband.low < 25
    warm = epochs_a_trial(space_of("random", "asha", 0, 64, fixed={"warmup_epochs": 4.5}))
    # The rungs are after 11, 23 and 59 epochs.
    assert warm.low == pytest.approx(11 + 12 / 3 + 36 / 9 + 1 / 27)
    patient = epochs_a_trial(space_of("random", "none", 0, 64, fixed={"early_stop_patience": 9}))
    assert patient == Span(10, 60)


def test_a_grid_is_forecast_by_its_size_and_the_noise_with_its_runs() -> None:
    changes = {"parameters": {"depth": {"values": [1, 2, 4]}}, "search": {"sampler": "grid", "trials": 100}}
    grid = forecast(space_of("grid", "none", 0, 100, **changes), running=2, rows=100)
    assert (grid.trials, grid.epochs) == (3, Span(180, 180))
    noisy = forecast(space_of("tpe", "none", 0, 40, budget={"until_noise": True}), running=2, rows=100)
    assert noisy.epochs == Span(10 * 60 + 3 * 60, 40 * 60 + 3 * 60)


def test_what_is_left_of_a_resumed_sweep_is_forecast() -> None:
    space = parse_space(
        {
            "name": "s",
            "search": {"trials": 20},
            "early_stopping": {"max_epochs": 9, "grace_epochs": 1},
            "parameters": {"depth": {"values": list(range(1, 30))}},
            "confirm": {"top": 2, "seeds": 2},
        },
        "s",
    )
    ended = [trial(n, [0.5] * (9 if n % 3 == 0 else 1), "finished" if n % 3 == 0 else "stopped") for n in range(18)]
    going = trial(18, [0.5] * 4, "running")
    rerun = TrialRecord(number=0, name="trial_0000_seed43", seed=43, params={}, purpose="confirm", state="finished")
    left = forecast(space, 2, 100, [*ended, going])
    assert left.trials == 1
    assert left.epochs.low >= 1 + 2 * 2 * 9  # the last trial, and the reruns of the two best
    assert left.epochs.high <= 9 + 5 + 3 * 2 * 9
    assert 11 / 3 in left.epochs_a_trial
    fewer = forecast(space, 2, 100, [*ended, going, rerun])
    assert fewer.epochs.low == pytest.approx(left.epochs.low - 9)
    # Two trials that still go on may be the best; what has been confirmed then lacks a rerun beside theirs.
    assert fewer.epochs.high == pytest.approx(left.epochs.high + 9)
    with_folds = replace(space, confirm=replace(space.confirm, folds=5))
    done = replace(rerun, purpose="fold", fold=1, folds=5)
    more = forecast(with_folds, 2, 100, [*ended, going, done])
    assert (more.epochs.low, more.epochs.high) == pytest.approx((left.epochs.low + 4 * 9, left.epochs.high + 4 * 9))


def test_reruns_of_configurations_that_fell_behind_do_not_count_for_those_that_lead_now() -> None:
    changes = {"search": {"sampler": "random", "trials": 8}, "confirm": {"top": 2, "seeds": 3}}
    space = space_of("random", "none", 0, 8, **changes)
    trials = [replace(trial(n, [0.1 * n] * 60), params={"lr": 2 * 10.0**-n}) for n in range(1, 9)]
    runs = [
        replace(trial(n, [0.1] * 60), name=f"trial_{n:04d}_seed{seed}", seed=seed, purpose="confirm")
        for n in (1, 2)
        for seed in (43, 44, 45)
    ]
    assert forecast(space, 2, 100, [*trials, *runs]).epochs == Span(2 * 3 * 60, 2 * 3 * 60)
    assert forecast(space, 2, 100, [*trials[:7], *runs]).epochs.low >= 60 + 2 * 3 * 60


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_the_range_holds_the_truth_in_simulated_sweeps(scheduler: str) -> None:
    """Before the first trial, and from a third of them on. benchmarks/forecast.py has many more sweeps."""
    for seed, sampler in enumerate(("tpe", "random")):
        space = space_of(sampler, scheduler, seed, 30)
        ledger = simulate(space, noise=0.02)
        records = ledger.records
        assert sum(len(record.epochs) for record in records) in forecast(space, 8, 100).epochs
        known = copy.copy(records[:10])
        later = sum(len(record.epochs) for record in records[10:])
        left = forecast(space, 8, 100, known)
        assert later in left.epochs
        assert left.epochs.high - left.epochs.low < forecast(space, 8, 100).epochs.high
