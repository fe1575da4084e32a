"""The invariants see what they are there for: each gets a sweep in which one thing is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fervit.search.driver import Driver, Room
from fervit.search.ledger import Ledger
from fervit.search.policy.sources import SearchSource
from fervit.search.records.report import TrialReport
from tests.simulation.sweeps import simulate

SEEDS = (*range(40), 155)


def seen(words: str) -> bool:
    """Whether a sweep of the seeds ends with a violation of these words."""
    return any(words in str(simulate(seed).violation) for seed in SEEDS)


def test_an_epoch_that_is_told_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Driver.reported

    def twice(self: Driver, name: str, report: TrialReport) -> bool:
        stops = plain(self, name, report)
        return self.ledger.report(name, report) or stops

    monkeypatch.setattr(Driver, "reported", twice)
    assert seen("is told epoch")


def test_a_place_that_nothing_uses_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Room, "is_full", lambda self, begun, placed: begun >= 1)
    assert seen("are idle")


def test_a_result_that_the_sampler_does_not_get_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Callable[..., Any] = SearchSource.tell
    monkeypatch.setattr(SearchSource, "tell", lambda self, record: None if record.number == 1 else plain(self, record))
    assert seen("if its study is made from the journal")


def test_a_budget_that_nobody_looks_at_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "spent", lambda self: None)
    assert seen("the budget")


def test_a_driver_that_forgets_what_it_has_written_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Ledger.placed
    monkeypatch.setattr(Ledger, "placed", lambda self, name, gpus=0.0: (plain(self, name, gpus), forget(self, name)))

    def forget(ledger: Ledger, name: str) -> None:
        record = ledger._history.records[name]
        record.params = {**record.params, "lr": 1.0}

    assert seen("differ in")
