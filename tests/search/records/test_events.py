from __future__ import annotations

import json
from typing import Any

import pytest

from fervit.search.records.events import (
    EpochEnded,
    Event,
    ModelChosen,
    PartEnded,
    ProcessLost,
    SessionBegan,
    SweepDone,
    TrialEnded,
    TrialPlaced,
    TrialResumed,
    TrialStarted,
    TrialWentOn,
    from_row,
    to_row,
)
from fervit.search.records.history import History
from fervit.training.failure import Failure
from tests.helpers.epochs import epoch_result

STARTED = TrialStarted(time=1.0, name="trial_0000", number=0, seed=3, purpose="search", params={"lr": 0.1, "depth": 2})
EVENTS: list[Event] = [
    SessionBegan(time=0.5),
    STARTED,
    EpochEnded(
        time=2.0,
        name="trial_0000",
        row=epoch_result(1, f1_macro=0.25),
        best_value=0.25,
        finished=False,
        saved=1,
        started=1.5,
        pid=7,
        cost=2.0,
        node="10.0.0.1",
    ),
    ProcessLost(time=3.0, name="trial_0000", why="process died: it was killed"),
    TrialWentOn(time=4.0, name="trial_0000", epoch=1),
    TrialEnded(time=5.0, name="trial_0000", state="failed", failure=Failure("diverged", "the loss became nan")),
    ModelChosen(time=6.0, number=0, seed=4, epoch=9, confirmed=(0, 2), ties=(2,), without_model=("trial_0007",)),
    PartEnded(time=6.5, part="search", by="hours", why="the budget of 1 hours is spent"),
    TrialResumed(time=6.7, name="trial_0000"),
    TrialPlaced(time=6.8, at=0.8, name="trial_0000", gpus=0.5),
    SweepDone(time=7.0),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    assert from_row(json.loads(json.dumps(to_row(event)))) == event


def test_a_journal_of_version_0_1_is_read() -> None:
    old: dict[str, Any] = {"event": "start", "time": 1.0, "name": "trial_0000", "number": 0, "seed": 3}
    old |= {"purpose": "search", "params": {"lr": 0.1, "depth": 2}, "warmup_epochs": 0.0}
    assert from_row(old) == STARTED
    end = {"event": "end", "time": 5.0, "name": "trial_0000", "state": "failed", "failure": "oom"}
    ended = from_row(end)
    assert isinstance(ended, TrialEnded)
    assert ended.failure is not None
    assert ended.failure.kind == "oom"
    chosen = {"event": "chosen", "time": 6.0, "number": 0, "seed": 4, "epoch": 9, "confirmed": [0, 2], "ties": []}
    assert from_row(chosen) == ModelChosen(time=6.0, number=0, seed=4, epoch=9, confirmed=(0, 2))


def test_an_event_that_only_a_later_version_knows_is_passed_over() -> None:
    assert from_row({"event": "dreamt", "time": 1.0, "name": "trial_0000"}) is None


def test_the_last_choice_counts_and_a_new_session_is_not_done() -> None:
    history = History([*EVENTS, SessionBegan(time=9.0)])
    assert history.choice is not None
    assert (history.choice.number, history.choice.seed, history.choice.epoch) == (0, 4, 9)
    assert (history.done, history.was_done, history.sessions) == (False, True, 2)
    later = ModelChosen(time=10.0, number=2, seed=5, epoch=1)
    assert History([*EVENTS, later]).choice == later
