from __future__ import annotations

from typing import Any

from fervit.search.policy.sampler import Outcome
from fervit.search.policy.sources import outcome_of
from fervit.search.records.record import TrialRecord


def test_what_optuna_is_told_of_each_end() -> None:
    def of(state: Any, failure: str = "") -> Outcome:
        return outcome_of(TrialRecord(number=0, name="", seed=0, params={}, state=state, failure=failure))

    assert of("finished") is Outcome.FINISHED
    assert of("stopped") is Outcome.STOPPED
    assert of("failed", "diverged: the loss") is Outcome.FAILED
    assert of("failed", "out of memory: CUDA") is Outcome.INFEASIBLE
