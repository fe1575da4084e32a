from __future__ import annotations

from fervit.search.outcome.confirm import Confirmed, choose
from tests.helpers.records import F1, LOSS, trial


def confirmed(number: int, *values: float) -> Confirmed:
    return Confirmed(record=trial(number, [0.5]), values=values)


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
