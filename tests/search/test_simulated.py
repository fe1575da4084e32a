"""Sweeps on recorded curves in virtual time, with the ledger of a real sweep."""

from __future__ import annotations

from fervit.search.ledger import Ledger, Observer
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import SearchSource
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.journal import JournalInMemory
from fervit.search.records.record import TrialRecord
from fervit.search.simulated import Curve, VirtualClock, run_simulated
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from tests.helpers.epochs import epoch_result
from tests.helpers.ledger import SPACE


class Timeline(Observer):
    """Records when each epoch was reported, in virtual seconds."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.epochs: list[tuple[float, str, int]] = []

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        self.epochs.append((self._clock.now, record.name, record.epochs[-1].epoch))


def space(trials: int, scheduler: str = "none") -> SearchSpace:
    stopping = {"max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3, "scheduler": scheduler}
    search = {"sampler": "random", "trials": trials, "seed": 3}
    return parse_space({**SPACE, "search": search, "early_stopping": stopping}, "s.yaml")


def simulate(
    given: SearchSpace, slots: int, values: dict[int, float], seconds: dict[int, float]
) -> tuple[Ledger, Timeline]:
    """Runs trials of three epochs, each with a constant value and a constant length of its epochs."""
    clock = VirtualClock()
    timeline = Timeline(clock)
    rule = stopping_rule(given.early_stopping, given.metric)
    ledger = Ledger(given, JournalInMemory(clock), rule, [timeline], clock=clock)
    ledger.use(SearchSource(given, SpaceSampler(given)))

    def curve_of(planned: Planned) -> Curve:
        number = planned.number
        return [epoch_result(i, f1_macro=values[number], seconds=seconds[number]) for i in (1, 2, 3)]

    run_simulated(ledger, curve_of, clock, slots=slots)
    return ledger, timeline


def test_trials_run_side_by_side_by_the_seconds_of_their_epochs() -> None:
    ledger, timeline = simulate(space(3), 2, dict.fromkeys(range(3), 0.5), {0: 10.0, 1: 4.0, 2: 4.0})
    first, second, third = (f"trial_{number:04d}" for number in range(3))
    assert timeline.epochs == [
        (4.0, second, 1),
        (8.0, second, 2),
        (10.0, first, 1),
        (12.0, second, 3),
        (16.0, third, 1),
        (20.0, first, 2),
        (20.0, third, 2),
        (24.0, third, 3),
        (30.0, first, 3),
    ]
    assert ledger.elapsed_seconds() == 30.0
    assert {record.state for record in ledger.records} == {"finished"}


def test_the_rule_of_the_space_stops_trials_as_in_a_sweep() -> None:
    values = {0: 0.5, 1: 0.6, 2: 0.1, 3: 0.7}
    ledger, _ = simulate(space(4, "asha"), 1, values, dict.fromkeys(range(4), 1.0))
    assert [record.state for record in ledger.records] == ["finished", "finished", "stopped", "finished"]
    assert len(ledger.records[2].epochs) == 1
    assert ledger.elapsed_seconds() == 3 + 3 + 1 + 3
    assert ledger.best is ledger.records[3]
