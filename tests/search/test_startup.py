from __future__ import annotations

import pytest

from fervit.search.startup import too_many_at_once
from tests.helpers.simulated_sweeps import space_of


@pytest.mark.parametrize(
    ("sampler", "trials", "at_once", "warned"),
    [("tpe", 64, 64, True), ("tpe", 64, 16, False), ("random", 64, 64, False), ("gp", 8, 4, False), ("gp", 8, 5, True)],
)
def test_it_is_said_when_more_trials_start_at_once_than_the_sampler_can_learn_from(
    sampler: str, trials: int, at_once: int, warned: bool
) -> None:
    text = too_many_at_once(space_of(sampler, "none", 0, trials), at_once)
    assert bool(text) == warned
    if warned:
        assert f"set search.max_concurrent_trials={max(4, trials // 4)}" in text
