"""Sweeps in virtual time whose machines, processes, clocks, disks and drivers fail, each drawn from a seed."""

from __future__ import annotations

import pytest

from tests.simulation.plan import Plan
from tests.simulation.sweeps import simulate

QUICK, SEEDS, MANY = 120, 300, 10_000
"""The seeds of every day, of CI, and of `make chaos`."""


KINDS = 40
"""So many seeds hold every kind of fault."""


def violations(seeds: range) -> list[str]:
    return [str(result) for seed in seeds if (result := simulate(seed)).violation is not None]


@pytest.mark.parametrize("first", range(0, QUICK, 40))
def test_whatever_fails_each_trial_ends_once_and_the_choice_follows_from_the_journal(first: int) -> None:
    assert violations(range(first, first + 40)) == []


@pytest.mark.long
@pytest.mark.parametrize("first", range(QUICK, SEEDS, 60))
def test_further_seeds(first: int) -> None:
    assert violations(range(first, first + 60)) == []


@pytest.mark.chaos
@pytest.mark.parametrize("first", range(0, MANY, 500))
def test_ten_thousand_seeds(first: int) -> None:
    assert violations(range(first, first + 500)) == []


def test_a_budget_that_ends_before_any_model_was_written_is_told_as_that() -> None:
    """A driver that is killed before the first save, and a budget that is spent when it begins again."""
    shown: list[str] = []
    result = simulate(1117, shown.append)
    assert result.violation is None
    assert "no trial had written a model yet when the search ended (the budget of" in result.told


def test_the_baseline_keeps_the_model_of_its_first_run_though_others_were_better() -> None:
    """The reruns of the baseline had the best mean; its best run had the first seed, whose model was gone."""
    assert simulate(2165).violation is None


def test_a_place_whose_process_was_lost_after_ctrl_c_counts_no_longer() -> None:
    """A trial lost its process after the request to end, and its place went on to count beside the next one's."""
    assert simulate(3323).violation is None


@pytest.mark.parametrize(("seed", "better", "chosen"), [(3061, 1, 0), (6685, 0, 1)])
def test_the_journal_says_which_better_trial_has_no_model(seed: int, better: int, chosen: int) -> None:
    """The driver was killed before the first save, and the budget ended before the trial had trained again."""
    result = simulate(seed)
    assert result.violation is None
    words = f"trial_{better:04d}: better, but ended before a model was written; trial_{chosen:04d} is chosen"
    assert words in result.lines


@pytest.mark.parametrize("seed", [3529, 7831])
def test_a_process_that_starts_on_a_silent_node_begins_when_the_node_speaks_again(seed: int) -> None:
    assert simulate(seed).violation is None


def test_what_happens_to_a_node_goes_on_when_the_confirmation_begins() -> None:
    """A node fell silent in the search; in the confirmation, the cluster gives it up."""
    shown: list[str] = []
    assert simulate(5001, shown.append).violation is None
    silent = next(i for i, line in enumerate(shown) if "node0 falls silent for 180 s" in line)
    planned = next(i for i, line in enumerate(shown) if i > silent and "trial_0003_seed2 is planned" in line)
    assert any("the cluster gives node0 up" in line for line in shown[planned:])


def test_a_seed_gives_the_same_sweep_each_time() -> None:
    shown: list[list[str]] = [[], []]
    for lines in shown:
        simulate(11, lines.append)
    assert shown[0] == shown[1]
    assert len(shown[0]) > 20


def test_the_seeds_hold_every_kind_of_fault() -> None:
    left = {
        *("THE DRIVER IS KILLED", "the session ends: interrupted", "the session ends: disk full", "is given notice"),
        *("falls silent", "gives node", "is back", "finds its process", "since memory is short", "arrives once more"),
        *("a failure: diverged", "a failure: out of memory", "the wall clock is set", "another sweep takes"),
    }
    for seed in range(300):
        shown: list[str] = []
        simulate(seed, shown.append)
        left -= {words for words in left if any(words in line for line in shown)}
        if not left:
            break
    assert left == set()
    assert {Plan(seed).raw["search"]["sampler"] for seed in range(KINDS)} >= {"random", "qmc", "tpe", "grid"}
