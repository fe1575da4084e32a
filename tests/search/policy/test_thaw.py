from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fervit.errors import UserError
from fervit.search.ledger import Ledger
from fervit.search.policy.curves import REACH, CurveModel, EarlierCurves
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import SearchSource
from fervit.search.policy.stopping import NeverStops, decision_epochs
from fervit.search.policy.thaw import Thaw, looks
from fervit.search.records.journal import JournalInMemory
from fervit.search.records.ranking import best_values
from fervit.search.records.record import TrialRecord
from fervit.search.simulated import Curve, VirtualClock, run_simulated
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from tests.helpers.epochs import epoch_result


def space_of(trials: int = 40, seed: int = 0, **stopping: Any) -> SearchSpace:
    raw = {
        "name": "thawed",
        "search": {"sampler": "random", "trials": trials, "seed": seed},
        "early_stopping": {"scheduler": "thaw", "max_epochs": 20, **stopping},
        "parameters": {
            "lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-1},
            "dropout": {"distribution": "uniform", "min": 0.0, "max": 0.5},
        },
    }
    return parse_space(raw, "thawed.yaml")


def height(params: dict[str, Any]) -> float:
    return 0.8 - 0.1 * (math.log10(params["lr"]) + 3) ** 2 - 0.3 * params["dropout"]


def rising(planned: Planned) -> Curve:
    """A curve that rises to a height that the configuration decides, with some luck of its own."""
    luck = np.random.default_rng(planned.number).normal(0, 0.01, 20)
    values = [height(planned.params) * (1 - 0.8**i) + luck[i - 1] for i in range(1, 21)]
    return [epoch_result(i, f1_macro=value, seconds=1.0) for i, value in enumerate(values, start=1)]


def run(space: SearchSpace, curve_of: Callable[[Planned], Curve] = rising, slots: int = 2) -> list[TrialRecord]:
    clock = VirtualClock()
    ledger = Ledger(space, JournalInMemory(clock), NeverStops(), clock=clock)
    ledger.use(SearchSource(space, SpaceSampler(space)))
    run_simulated(ledger, curve_of, clock, slots=slots)
    return ledger.records


def expected(space: SearchSpace, records: list[TrialRecord]) -> dict[str, float]:
    """What the model expects of trials, told of their epochs one trial after the other."""
    thaw = Thaw(space)
    for record in records:
        thaw.drawn(record)
    for record in records:
        for epoch, value in best_values(record, space.metric):
            thaw.learn(record.name, epoch, value)
    return thaw.expected()


def test_what_is_asked_in_between_changes_nothing() -> None:
    space = space_of()
    thaw, names = Thaw(space), [f"trial_{i}" for i in range(12)]
    rng = np.random.default_rng(1)
    for i, name in enumerate(names):
        params = {"lr": 10 ** rng.uniform(-5, -1), "dropout": rng.uniform(0, 0.5)}
        thaw.drawn(TrialRecord(number=i, name=name, seed=0, params=params))
    for i, name in enumerate(names[:9]):
        for epoch in range(1, 4):
            thaw.learn(name, epoch, 0.1 * epoch + 0.02 * i)
    first = thaw.candidates(names, names[9:])
    worth = [thaw.is_worth(one) for one in first]
    thaw.candidates(names, ())
    assert thaw.candidates(names, names[9:]) == first
    assert [thaw.is_worth(one) for one in first] == worth


@pytest.mark.parametrize("slots", [1, 4])
def test_it_trains_one_of_the_best_to_its_end_for_a_part_of_the_epochs(slots: int) -> None:
    records = run(space_of(), slots=slots)
    finished = [record for record in records if record.state == "finished"]
    best = max(finished, key=lambda record: record.epochs[-1].f1_macro)
    order = sorted(records, key=lambda record: -height(record.params))
    assert best in order[:4]
    assert sum(len(record.epochs) for record in records) < 0.35 * 40 * 20
    assert {record.state for record in records} == {"finished", "stopped"}


def test_where_configurations_hardly_differ_it_ends_soon() -> None:
    def alike(planned: Planned) -> Curve:
        luck = np.random.default_rng(planned.number + 1).normal(0, 0.02)
        noise = np.random.default_rng(planned.number).normal(0, 0.005, 20)
        values = [(0.5 + luck) * (1 - 0.8**i) + noise[i - 1] for i in range(1, 21)]
        return [epoch_result(i, f1_macro=value, seconds=1.0) for i, value in enumerate(values, start=1)]

    records = run(space_of(), alike)
    assert sum(len(record.epochs) for record in records) < 0.35 * 40 * 20


def test_what_was_decided_is_said_of_each() -> None:
    records = run(space_of())
    for record in records:
        if record.state == "stopped":
            when = f"stopped at epoch {len(record.epochs)}: " if record.epochs else "never begun: "
            assert record.why.startswith(when)
            assert "% to reach 0." in record.why


def test_it_pauses_only_where_the_state_is_saved() -> None:
    for record in run(space_of()):
        if record.state == "stopped":
            assert len(record.epochs) in (0, *looks(20))
    assert decision_epochs(space_of().early_stopping, 1.0) == looks(20)
    assert looks(1) == ()


def test_a_worse_value_is_better_where_it_is_minimised() -> None:
    def falling(planned: Planned) -> Curve:
        return [epoch_result(row.epoch, val_loss=1 - row.f1_macro, seconds=1.0) for row in rising(planned)]

    raw = {**space_of().to_json(), "metric": {"name": "val_loss", "goal": "minimize"}}
    records = run(parse_space(raw, "s.yaml"), falling)
    maximised = run(space_of())
    assert [len(record.epochs) for record in records] == [len(record.epochs) for record in maximised]
    losses, values = expected(parse_space(raw, "s.yaml"), records), expected(space_of(), maximised)
    assert losses == {name: pytest.approx(1 - value, abs=1e-4) for name, value in values.items()}
    assert values


def test_no_more_pause_than_may() -> None:
    most = 0
    clock = VirtualClock()
    space = space_of(max_paused=2)
    ledger = Ledger(space, JournalInMemory(clock), NeverStops(), clock=clock)
    ledger.use(SearchSource(space, SpaceSampler(space)))

    def count() -> bool:
        nonlocal most
        most = max(most, sum(bool(record.epochs) for record in ledger.paused))
        return False

    run_simulated(ledger, rising, clock, slots=3, is_over=count)
    assert most == 2


def test_a_value_that_is_no_number_is_no_evidence() -> None:
    space = space_of()
    thaw = Thaw(space)
    for i in range(3):
        thaw.drawn(TrialRecord(number=i, name=f"trial_{i}", seed=0, params={"lr": 10.0**-i, "dropout": 0.1}))
    thaw.learn("trial_0", 1, math.nan)
    assert thaw.choose(["trial_1", "trial_2"], ["trial_0"]) == "trial_1"
    assert thaw.reason("trial_1") == "nothing is known yet"


@pytest.mark.parametrize("with_earlier", [False, True])
def test_the_gradient_of_the_model_is_right(with_earlier: bool) -> None:
    rng = np.random.default_rng(0)
    points, curves = rng.random((5, 3)), {i: np.sort(rng.random(i + 2)).tolist() for i in range(5)}
    before = EarlierCurves(
        points=rng.random((4, 3)),
        curves=[np.sort(rng.random(8)).tolist() for _ in range(4)],
        sources=np.array([0, 0, 1, 1]),
        likeness=np.array([0.9, 0.6]),
    )
    model = CurveModel([0, 1, 1], 8, (1, 2, 4, 8), before if with_earlier else None)
    likelihood = model._likelihood(points, curves)
    assert likelihood is not None
    at = model._typical + rng.normal(0, 0.2, len(model._typical))
    _, gradient = likelihood(at)
    for k in range(len(at)):
        step = np.zeros_like(at)
        step[k] = 1e-5
        slope = (likelihood(at + step)[0] - likelihood(at - step)[0]) / 2e-5
        assert gradient[k] == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_the_model_expects_more_of_what_is_near_the_best() -> None:
    points = np.linspace(0, 1, 11)[:, None]
    curves = {i: [(1 - (points[i, 0] - 0.7) ** 2) * (1 - 0.6**e) for e in range(1, 11)] for i in (0, 3, 6, 10)}
    model = CurveModel([0], 10, (1, 2, 3, 5, 7, 10))
    model.fit(points, curves)
    mean, deviation = model.predict(points, curves)
    assert 5 <= int(mean.argmax()) <= 8
    assert deviation[6] < deviation[8]
    _, beside = model.predict(points, curves, pending=[8])
    assert beside[9] < deviation[9]


def test_until_noise_is_refused() -> None:
    raw = {**space_of().to_json(), "budget": {"until_noise": True}}
    with pytest.raises(UserError, match="thaw ends the search by itself"):
        parse_space(raw, "s.yaml")


VALUES = st.one_of(
    st.floats(0, 1), st.sampled_from([0.0, 0.5, -1e9, 1e9, 1e-300, -1e30, 3.4e38]), st.floats(-1e12, 1e12)
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(VALUES, min_size=1, max_size=8), min_size=1, max_size=9),
    st.integers(0, 2**20),
    st.booleans(),
)
def test_no_curves_break_the_model(values: list[list[float]], seed: int, alike: bool) -> None:
    rng = np.random.default_rng(seed)
    points = np.full((len(values) + 2, 2), 0.5) if alike else rng.random((len(values) + 2, 2))
    curves = {i: np.maximum.accumulate(curve).tolist() for i, curve in enumerate(values)}
    model = CurveModel([0, 1], 8, (1, 2, 4, 8))
    for _ in range(3):
        model.fit(points, curves)
        mean, deviation = model.predict(points, curves, pending=[len(values)])
        assert np.isfinite(mean).all()
        assert np.isfinite(deviation).all()
        assert (deviation > 0).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=8, max_size=8), st.integers(0, 2**20))
def test_a_fit_that_steps_far_stays_among_numbers(corner: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, curves = rng.random((6, 2)), {i: np.sort(rng.random(i + 2)).tolist() for i in range(6)}
    model = CurveModel([0, 1], 8, (1, 2, 4, 8))
    likelihood = model._likelihood(points, curves)
    assert likelihood is not None
    farthest = REACH * model._spread
    value, gradient = likelihood(model._typical + corner * farthest)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert value < 1e9 or any(corner)  # the values fit to the covariance, at the least at the means
    model._parameters = model._typical + corner * farthest
    model.fit(points, curves)
    assert (abs(model._parameters - model._typical) <= farthest + 1e-9).all()
