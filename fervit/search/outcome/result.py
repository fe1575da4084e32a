"""What a sweep came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fervit.search.outcome.confirm import Confirmed
from fervit.search.outcome.sealed import Verdict
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    folder: Path
    space: SearchSpace
    records: list[TrialRecord]
    """Of the search."""
    chosen: TrialRecord
    """The run whose model is exported: of the chosen configuration, the one with the best epoch."""
    confirmed: list[Confirmed]
    """Of the search's best, by their rank; empty where the space asks for no confirmation."""
    ties: list[Confirmed]
    """Trials that the confirmation cannot tell from the chosen one."""
    front: list[TrialRecord]
    """What is best at its cost, cheapest first, where the metric is weighed against one."""
    ended_because: str
    """Why the search ended before its last trial; "" if it did not."""
    verdict: Verdict
    encoder: dict[str, Any]
    seconds: float
    """Of all sessions."""
