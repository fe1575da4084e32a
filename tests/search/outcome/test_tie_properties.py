"""What holds of every choice among confirmed configurations, whatever their values."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fervit.search.outcome.confirm import Confirmed, choose
from tests.helpers.records import F1, LOSS, trial

VALUES = st.lists(st.integers(0, 1000).map(lambda value: value / 1000), min_size=1, max_size=4).map(tuple)
CONFIRMED = st.lists(st.tuples(VALUES, st.integers(0, 2)), min_size=1, max_size=6).map(
    lambda drawn: [
        Confirmed(record=trial(number, [0.5]), values=values, missing=missing)
        for number, (values, missing) in enumerate(drawn)
    ]
)
few = settings(max_examples=100, derandomize=True, deadline=None, database=None)


def numbers(confirmed: list[Confirmed]) -> set[int]:
    return {one.record.number for one in confirmed}


@few
@given(CONFIRMED, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order(confirmed: list[Confirmed], rng: object) -> None:
    winner, ties = choose(confirmed, F1)
    shuffled = list(confirmed)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    again, same = choose(shuffled, F1)
    assert (again.record.number, numbers(same)) == (winner.record.number, numbers(ties))


@few
@given(CONFIRMED)
def test_none_that_lacks_as_few_reruns_has_a_better_mean_than_the_winner(confirmed: list[Confirmed]) -> None:
    winner, ties = choose(confirmed, F1)
    complete = [one for one in confirmed if one.missing == min(other.missing for other in confirmed)]
    assert winner in complete
    assert all(one.mean <= winner.mean for one in complete)
    assert winner.record.number not in numbers(ties)
    assert numbers(ties) < numbers(complete)


@few
@given(CONFIRMED)
def test_ties_are_the_best_of_the_others_where_all_have_as_many_seeds(confirmed: list[Confirmed]) -> None:
    seeds = min(len(one.values) for one in confirmed)
    alike = [Confirmed(record=one.record, values=one.values[:seeds]) for one in confirmed]
    winner, ties = choose(alike, F1)
    lost = [one for one in alike if one is not winner and one not in ties]
    assert all(one.mean <= tie.mean for one in lost for tie in ties)


@few
@given(CONFIRMED)
def test_a_loss_is_judged_as_a_score_upside_down(confirmed: list[Confirmed]) -> None:
    mirrored = [
        Confirmed(record=one.record, values=tuple(1 - value for value in one.values), missing=one.missing)
        for one in confirmed
    ]
    (winner, ties), (other, same) = choose(confirmed, F1), choose(mirrored, LOSS)
    means = [one.mean for one in confirmed]
    if len({round(mean, 9) for mean in means}) == len(means):  # of equal means, rounding decides
        assert winner.record.number == other.record.number
        assert len(numbers(ties) ^ numbers(same)) == 0
