from __future__ import annotations

import pytest

from fervit.search.outcome.confirm import candidates, confirmations
from fervit.search.outcome.folds import folded
from fervit.search.policy.sources import ConfirmSource, FoldSource
from fervit.search.records.record import TrialRecord
from fervit.search.space.space_file import parse_space
from tests.helpers.ledger import SPACE
from tests.helpers.records import F1, trial


def fold(number: int, k: int, value: float, state: str = "finished", of: int = 3) -> TrialRecord:
    return trial(number, [0.1, value], state, purpose="fold", fold=k, folds=of)  # type: ignore[arg-type]


def test_mean_spread_and_an_interval_that_allows_for_the_rows_that_folds_share() -> None:
    runs = [fold(4, 3, 0.62), fold(4, 1, 0.60), fold(4, 2, 0.61), fold(4, 1, 0.9, of=5), fold(2, 1, 0.9)]
    found = folded(runs, 4, 3, F1)
    assert found is not None
    assert found.values == (0.60, 0.61, 0.62)
    assert found.mean == pytest.approx(0.61)
    assert found.spread == pytest.approx(0.01)
    assert found.half_width == pytest.approx(4.3027 * 0.01 * (1 / 3 + 1 / 2) ** 0.5, abs=1e-5)
    assert found.text == "0.610 ± 0.039 (95 %), standard deviation 0.010"
    assert found.runs == "3 folds"


def test_folds_that_failed_are_told_and_without_one_there_is_nothing_to_tell() -> None:
    found = folded([fold(4, 1, 0.6), fold(4, 2, 0.0, "failed"), fold(4, 3, 0.7, "stopped")], 4, 3, F1)
    assert found is not None
    assert (found.values, found.text, found.half_width) == ((0.6,), "0.600", None)
    assert found.runs == "1 of 3 folds, the others FAILED or were stopped"
    assert folded([fold(4, 1, 0.6, "failed")], 4, 3, F1) is None
    assert folded([], 4, 0, F1) is None


def test_folds_are_no_reruns_of_the_confirmation_and_are_planned_once() -> None:
    space = parse_space({**SPACE, "confirm": {"top": 1, "seeds": 1, "folds": 3}}, "s.yaml")
    chosen, others = trial(0, [0.5]), [trial(1, [0.4])]
    runs = [fold(0, 1, 0.99)]
    best = candidates([chosen, *others], runs, space)
    assert [record.number for record in best] == [0]
    assert confirmations(best, runs, space) == []
    assert ConfirmSource(space, best, [chosen, *others, *runs]).total == 1
    source = FoldSource(space, chosen, [chosen, *others])
    planned = [source.ask() for _ in range(4)]
    assert [one.name for one in planned if one] == [f"trial_0000_fold{k}of3" for k in (1, 2, 3)]
    assert len({one.config.seed for one in planned if one}) == 3
    known = trial(0, [0.5], purpose="fold", fold=2, folds=3)
    known.name = "trial_0000_fold2of3"
    again = FoldSource(space, chosen, [chosen, known])
    assert again.total == 3
    assert [again.ask(), again.ask(), again.ask()] == [planned[0], planned[2], None]
