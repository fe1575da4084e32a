from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fervit.search.outcome.baseline import why_no_comparison
from fervit.search.outcome.confirm import (
    Confirmed,
    baseline_that_may_stay,
    candidates,
    choose,
    confirmations,
    gain,
    why_it_stays,
)
from fervit.search.records.record import TrialRecord
from fervit.search.space.space_file import parse_space
from fervit.training.failure import Failure
from tests.helpers.ledger import SPACE
from tests.helpers.records import F1, LOSS, trial

THREE = parse_space({**SPACE, "confirm": {"top": 2, "seeds": 3}}, "three.yaml")
"""A space whose confirmation has three fresh seeds."""


def confirmed(number: int, *values: float, missing: int = 0) -> Confirmed:
    return Confirmed(record=trial(number, [0.5]), values=values, missing=missing)


def rerun(record: TrialRecord, value: float, state: str = "finished") -> TrialRecord:
    failure = Failure("diverged", "the loss became nan") if state == "failed" else None
    again = trial(record.number, [value], state, purpose="confirm", failure=failure)  # type: ignore[arg-type]
    return replace(again, params=record.params)


def with_seeds(runs: list[TrialRecord]) -> list[TrialRecord]:
    """Gives the reruns of each trial the fresh seeds in their order."""
    n: Counter[int] = Counter()
    seeded = []
    for run in runs:
        n[run.number] += 1
        seeded.append(replace(run, seed=THREE.search.seed + n[run.number]))
    return seeded


def test_the_best_mean_of_fresh_seeds_wins_and_what_noise_explains_ties() -> None:
    clear, near, far = confirmed(0, 0.80, 0.81, 0.82), confirmed(1, 0.79, 0.81, 0.80), confirmed(2, 0.60, 0.61, 0.62)
    winner, ties = choose([near, clear, far], F1)
    assert winner is clear
    assert ties == [near]
    assert clear.mean == sum(clear.values) / 3
    assert clear.half_width is not None
    assert 0.0248 < clear.half_width < 0.0249  # 4.303 * 0.01 / sqrt(3)


def test_a_single_rerun_cannot_tell_trials_apart() -> None:
    one, two = confirmed(0, 0.8), confirmed(1, 0.5)
    assert choose([one, two], F1) == (one, [two])
    assert choose([one, two], LOSS) == (two, [one])
    assert one.half_width is None


def test_a_rerun_that_failed_puts_its_configuration_after_complete_ones() -> None:
    steady, lucky, lost = trial(0, [0.6]), trial(1, [0.62]), trial(2, [0.61])
    runs = [rerun(steady, 0.600), rerun(steady, 0.605), rerun(steady, 0.610)]
    runs += [rerun(lucky, 0.612), rerun(lucky, 0.0, "failed"), rerun(lucky, 0.0, "failed")]
    runs += [rerun(lost, 0.0, "failed")]
    found = confirmations([steady, lucky, lost], with_seeds(runs), THREE)
    assert [(one.record.number, len(one.values), one.missing) for one in found] == [(0, 3, 0), (1, 1, 2)]
    winner, ties = choose(found, F1)
    assert winner.record is steady
    assert ties == []
    assert choose(found[1:], F1)[0].record is lucky  # where there is nothing else


def test_a_run_beyond_the_planned_seeds_that_a_budget_cut_counts_nothing() -> None:
    best, other = trial(0, [0.9]), trial(1, [0.6])
    runs = [rerun(best, 0.9), rerun(best, 0.91), rerun(best, 0.92), rerun(best, 0.3, "stopped")]
    runs += [rerun(other, 0.58), rerun(other, 0.59), rerun(other, 0.6)]
    found = confirmations([best, other], with_seeds(runs), THREE)
    assert [one.missing for one in found] == [0, 0]
    assert choose(found, F1)[0].record is best


def test_where_no_set_is_complete_the_one_that_lacks_fewest_leads() -> None:
    steady, lucky = trial(0, [0.6]), trial(1, [0.62])
    runs = [rerun(steady, 0.605), rerun(steady, 0.610), rerun(lucky, 0.612)]
    found = confirmations([steady, lucky], with_seeds(runs), THREE)
    assert [one.missing for one in found] == [1, 2]  # the budget of the confirmation ended before the others began
    assert choose(found, F1)[0].record is steady


@pytest.mark.parametrize(("compared", "seeds"), [(3, 3), (10, 3), (10, 5)])
def test_ties_of_equal_configurations_are_found_together_in_95_of_100_sweeps(compared: int, seeds: int) -> None:
    rng = np.random.default_rng(0)
    denied = 0
    for values in rng.normal(0.5, 0.01, (1000, compared, seeds)):
        _, ties = choose([confirmed(i, *row) for i, row in enumerate(values)], F1)
        denied += len(ties) < compared - 1
    assert 0.02 < denied / 1000 < 0.07


@pytest.mark.parametrize("shift", [0.0, 0.02])
def test_seeds_that_shift_all_configurations_alike_are_paired(shift: float) -> None:
    """True ties are found in 95 of 100 sweeps with and without such shifts, and with them more differences are seen."""
    rng = np.random.default_rng(1)
    denied, seen = 0, 0
    for _ in range(1000):
        values = rng.normal(0.5, 0.01, (4, 4)) + shift * rng.normal(size=4)
        alike = [
            Confirmed(record=trial(i, [0.5]), values=tuple(row), seeds=(3, 4, 5, 6)) for i, row in enumerate(values)
        ]
        denied += len(choose(alike, F1)[1]) < 3
        better = [replace(alike[0], values=tuple(value + 0.04 for value in alike[0].values)), *alike[1:]]
        seen += not choose(better, F1)[1]
    assert denied < 70
    assert seen > 700


def test_the_baseline_stays_unless_another_is_better_beyond_the_noise_of_seeds_and_faces() -> None:
    baseline, better, worse = (
        confirmed(0, 0.79, 0.80, 0.81),
        confirmed(1, 0.84, 0.85, 0.86),
        confirmed(2, 0.7, 0.7, 0.7),
    )
    found = [baseline, better, worse]
    assert choose(found, F1, baseline)[0] is better  # beyond the noise of the seeds
    chosen, ties = choose(found, F1, baseline, faces=300)  # but another 300 faces might say otherwise
    assert (chosen, ties) == (baseline, [better])
    assert why_it_stays(chosen, ties, F1).startswith("The baseline (trial 0) stays: trial 1 is not better beyond")
    assert choose(found, F1, baseline, faces=30_000)[0] is better
    assert choose(found, F1, worse, faces=300)[0] is better
    assert choose(found, LOSS, baseline, faces=300)[0] is worse  # what faces do to a loss is not known
    chosen, ties = choose(found, F1, better, faces=300)
    assert chosen is better
    assert why_it_stays(chosen, ties, F1) == ""
    one, two = confirmed(0, 0.8), confirmed(1, 0.9)
    assert choose([one, two], F1, one, faces=300)[0] is two  # a seed each: nothing is known


def test_whoever_wants_the_highest_mean_gets_it() -> None:
    first = replace(trial(0, [0.5]), params={"depth": 1})
    confirm = {"top": 2, "seeds": 3}
    start = {"search": {**SPACE["search"], "warm_start": [{"depth": 1}]}}  # type: ignore[dict-item]
    for kept in (True, False):
        space = parse_space({**SPACE, **start, "confirm": {**confirm, "keep_baseline": kept}}, "s.yaml")
        given = [Confirmed(record=first, values=(0.5, 0.51, 0.52)), confirmed(1, 0.51, 0.52, 0.53)]
        stays = baseline_that_may_stay(space, [first], given)
        assert choose(given, F1, stays)[0] is given[0 if kept else 1]


def test_equal_configurations_leave_the_baseline_in_98_of_100_sweeps() -> None:
    rng = np.random.default_rng(5)
    changed = 0
    for values in rng.normal(0.5, 0.01, (500, 4, 3)):
        equal = [confirmed(i, *row) for i, row in enumerate(values)]
        changed += choose(equal, F1, equal[0])[0] is not equal[0]
    assert changed <= 15


def test_configurations_are_confirmed_once_with_the_baseline_and_what_was_confirmed_before() -> None:
    search = {"sampler": "random", "trials": 20, "seed": 3, "warm_start": [{"depth": 1}]}
    given = parse_space({**SPACE, "search": search, "parameters": {"depth": {"values": [1, 2, 3, 4, 5]}}}, "s.yaml")

    def of(number: int, value: float, depth: int) -> TrialRecord:
        return replace(trial(number, [value]), params={"depth": depth})

    baseline = of(0, 0.1, 1)
    best, same, second, third = of(3, 0.9, 4), of(5, 0.8, 4), of(6, 0.7, 3), of(2, 0.6, 2)
    ranking = [best, same, second, third, baseline]
    assert candidates(ranking, ranking, given) == [best, second, baseline]
    runs = [rerun(third, 0.5), rerun(same, 0.5)]
    # Of the configuration that two trials have, the one with reruns goes on.
    assert candidates(ranking, [*ranking, *runs], given) == [same, second, third, baseline]
    none = parse_space({**SPACE, "confirm": {"top": 0, "seeds": 2}}, "s.yaml")
    assert candidates(ranking, ranking, none) == []


@pytest.mark.parametrize(("goal", "sign"), [("maximize", 1), ("minimize", -1)])
def test_what_the_model_of_curves_expects_most_of_is_confirmed_before_lucky_values(goal: str, sign: int) -> None:
    metric = {"name": "f1_macro" if goal == "maximize" else "val_loss", "goal": goal}
    given = parse_space({**SPACE, "metric": metric, "parameters": {"depth": {"values": [1, 2, 3, 4]}}}, "s.yaml")
    lucky, steady, early, unknown = (replace(trial(i, [0.9 - 0.1 * i]), params={"depth": i + 1}) for i in range(4))
    lucky.expected, steady.expected, early.expected = 0.4 * sign, 0.6 * sign, 0.65 * sign
    ranking = [lucky, steady, early, unknown]
    assert candidates(ranking, ranking, given) == [steady, early]
    lucky.expected = steady.expected = early.expected = None
    assert candidates(ranking, ranking, given) == [lucky, steady]


def test_the_gain_over_the_baseline_has_an_interval_that_knows_of_the_choice() -> None:
    best, near, baseline = confirmed(0, 0.80, 0.81, 0.82), confirmed(1, 0.79, 0.8, 0.81), confirmed(2, 0.70, 0.71, 0.72)
    found = gain(best, baseline, [best, near, baseline], F1)
    assert found.difference == pytest.approx(0.10)
    assert found.half_width == pytest.approx(4.339 * 0.01 / 3**0.5, rel=1e-3)  # Tukey's q for 3 means and 6 degrees
    assert found.sentence("warm start 1 (trial 2)") == "Better than warm start 1 (trial 2) by 0.100 ± 0.025 (95 %)"
    assert gain(best, near, [best, near, baseline], F1).sentence("x").endswith("within the noise of the seeds")
    assert gain(confirmed(0, 0.3), confirmed(1, 0.5), [], LOSS).sentence("x") == "Better than x by 0.200"


def test_where_nothing_is_compared_with_the_baseline_the_reason_is_said() -> None:
    first, other = (replace(trial(n, [0.5]), params={"depth": n + 1}) for n in (0, 1))
    start = {**SPACE, "search": {**SPACE["search"], "warm_start": [{"depth": 1}]}}  # type: ignore[dict-item]
    warm, cold = parse_space(start, "s.yaml"), parse_space(SPACE, "s.yaml")
    assert "The best is the baseline itself, warm start 1 (trial 0)" in why_no_comparison(warm, [first, other], first)
    assert "warm start 1 has no result" in why_no_comparison(warm, [other], other)
    assert "the guide's configuration was not among the trials" in why_no_comparison(cold, [first, other], other)
