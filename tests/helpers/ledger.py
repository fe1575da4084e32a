"""Sweeps of which only the books are kept: nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fervit.search.console.live import PlainScreen
from fervit.search.ledger import Ledger
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import SearchSource
from fervit.search.policy.stopping import stopping_rule
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.training.epoch import EpochResult

SPACE = {
    "name": "s",
    "search": {"sampler": "random", "trials": 20, "seed": 3},
    "early_stopping": {"max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3},
    "parameters": {"depth": {"values": [1, 2, 3]}},
    "confirm": {"top": 2, "seeds": 2},
}


def report(epoch: int, value: float, saved: int = 0, best: float | None = None) -> dict[str, Any]:
    zeros = dict.fromkeys(EpochResult.__dataclass_fields__, 0.0)
    row = {**zeros, "epoch": epoch, "f1_macro": value, "seconds": 2.0}
    told = {"best_value": value if best is None else best, "finished": epoch == 9, "saved": saved}
    return {**row, **told, "started": 1.0, "pid": 1, "cost": None}


class Sweep:
    """A ledger over a folder, as each session makes one."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.space: SearchSpace = parse_space({**SPACE, **changes}, "s.yaml")
        self.lines: list[str] = []
        rule = stopping_rule(self.space.early_stopping, self.space.metric)
        self.ledger = Ledger(self.space, folder, rule, PlainScreen(self.lines.append))
        self.sampler = SpaceSampler(self.space, folder / "study.journal")
        self.source = SearchSource(self.space, self.sampler, self.ledger.records)
        self.ledger.use(self.source)

    def begin(self) -> Planned:
        planned = self.ledger.begin()
        assert planned is not None
        return planned

    def states(self) -> dict[str, str]:
        return {record.name: record.state for record in self.ledger.records}
