"""The measurement of how often a sweep's statements hold: on tiny recordings, and where the answer is known."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.drawn_sweeps import World, drawn_sweep
from benchmarks.honesty import any_worse, equal_models, main
from benchmarks.predictions import Answers
from benchmarks.recordings import NARROW, Plan
from fervit.search.packed import Packed, Training, write_packed
from tests.helpers.epochs import epoch_result

N, SEEDS, EPOCHS = 30, 6, 4


def recording(*, spread: float, noise: float) -> Packed:
    """Makes a recording whose configurations differ by `spread` and whose seeds add `noise`, on fresh faces alike."""
    plan = Plan(
        name="made_up", about="", headroom=False, data=lambda *_: None, train_rows=9, parameters=NARROW, fixed={}
    )
    space, rng = plan.space(), np.random.default_rng(0)

    def training(group: str, number: int, seed: int) -> Training:
        params = {"lr": 1.8e-3 + 1e-5 * number, "dropout": 0.1, "weight_decay": 0.01}
        mean = 0.4 + spread * (number / N - 0.5)
        values = mean + 0.01 * np.arange(EPOCHS) + rng.normal(0, noise)
        rows = [epoch_result(i + 1, f1_macro=float(value), seconds=1.0) for i, value in enumerate(values)]
        fresh = {"f1_macro": [float(value) - 0.05 for value in values], "accuracy": [0.5] * EPOCHS}
        return Training(group=group, number=number, seed=seed, params=params, epochs=rows, fresh=fresh)  # type: ignore[arg-type]

    trainings = [training("sweep", number, 42) for number in range(N)]
    trainings += [training("residuals", number, 43 + i) for number in range(0, N, 5) for i in range(SEEDS)]
    trainings += [training("check", 7, 43 + i) for i in range(SEEDS)]
    space = replace(space, early_stopping=replace(space.early_stopping, max_epochs=EPOCHS, grace_epochs=1))
    data = {"train": {"rows": 9}}
    return Packed(name="made_up", about="", headroom=False, space=space, data=data, trainings=trainings)


def test_without_noise_the_best_is_chosen_and_all_statements_are_true() -> None:
    world = World(recording(spread=0.2, noise=1e-6))
    for seed in range(5):
        drawn = drawn_sweep(world, seed, trials=12)
        best = max(drawn.trainings, key=drawn.truth)
        assert drawn.chosen.record.number == best
        assert drawn.chosen.mean == pytest.approx(drawn.truth(best), abs=1e-4)
        assert drawn.fresh(best) == pytest.approx(drawn.truth(best) - 0.05, abs=1e-4)
        assert drawn.fresh(best) >= drawn.fresh(drawn.first)
        assert drawn.forecasts[0]


def test_where_seeds_are_all_that_differs_the_first_tried_mostly_stays() -> None:
    world = World(recording(spread=0.001, noise=0.02), shrunk=True)
    sweeps = [drawn_sweep(world, seed, trials=12) for seed in range(20)]
    assert sum(drawn.chosen.record.number == drawn.first for drawn in sweeps) >= 15
    assert sum(drawn.highest.record.number == drawn.first for drawn in sweeps) < 15


def test_equal_models_are_equal_and_one_that_knows_nothing_is_found() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 500)
    predicted = np.where(rng.random((3, 500)) < 0.6, labels, rng.integers(0, 7, (3, 500)))
    models = equal_models(Answers(labels=labels, predicted=predicted), 3, 400, rng)
    shares = [float((one.predictions.predicted == one.predictions.labels).mean()) for one in models if one.predictions]
    assert max(shares) - min(shares) < 0.1
    blind = replace(models[0].predictions, probabilities=np.eye(7)[rng.integers(0, 7, 400)])  # type: ignore[type-var]
    assert any_worse([*models, replace(models[0], predictions=blind)])


def test_the_command_writes_each_statement_with_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    write_packed(recording(spread=0.05, noise=0.01), tmp_path / "made_up.json.xz")
    labels = rng.integers(0, 7, 200)
    said = np.where(rng.random((5, 200)) < 0.5, labels, rng.integers(0, 7, (5, 200)))
    Answers(labels=labels, predicted=said).write(tmp_path / "made_up.predictions.npz")
    arguments = ["--recordings", str(tmp_path), "--sweeps", "3", "--trials", "8", "--draws", "4"]
    monkeypatch.setattr(sys, "argv", ["honesty", *arguments, "--json", str(tmp_path / "found.json")])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("| share")).endswith("| made_up | made_up, shrunk |")
    found = {one["name"]: one["recordings"] for one in json.loads((tmp_path / "found.json").read_text())["statements"]}
    assert found["mean of the chosen configuration, in its interval"]["made_up, shrunk"]["of"] == 3
    assert found["compare.py: one of 5 equal models called worse"]["made_up"]["of"] == 4
    assert found["check: four equal configurations all tie"]["made_up"]["of"] == 4
    assert "compare.py: one of 10 equal models called worse" not in found
