"""Sweeps that have a ledger but train nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.search.console.live import PlainScreen
from fervit.search.ledger import Observer
from fervit.search.opening import open_ledger
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import SearchSource
from fervit.search.records.report import TrialReport
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from tests.conftest import CONFIG, trained
from tests.helpers.epochs import epoch_result

SPACE = {
    "name": "s",
    "search": {"sampler": "random", "trials": 20, "seed": 3},
    "early_stopping": {"max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3},
    "parameters": {"depth": {"values": [1, 2, 3]}},
    "confirm": {"top": 2, "seeds": 2},
}


def report(epoch: int, value: float, saved: int = 0, best: float | None = None, again: bool = False) -> TrialReport:
    return TrialReport(
        epoch=epoch_result(epoch, f1_macro=value, seconds=2.0),
        best_value=value if best is None else best,
        finished=epoch == 9,
        saved=saved,
        again=again,
        started=1.0,
        pid=1,
    )


def write_model(files: SweepFolder, name: str, epoch: int, value: float, seed: int = CONFIG.seed) -> None:
    """Writes a best model of this epoch, as a trial does."""
    row = epoch_result(epoch, f1_macro=value, seconds=1.0).to_json()
    row.pop("epoch")
    path = files.trial(name).best_model
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(replace(trained(replace(CONFIG, seed=seed, epochs=1)), epoch=epoch, metrics=row), path)


class Sweep:
    """The ledger of a sweep in a folder, as each session opens it."""

    def __init__(self, folder: Path, *observers: Observer, **changes: Any) -> None:
        self.space: SearchSpace = parse_space({**SPACE, **changes}, "s.yaml")
        self.lines: list[str] = []
        self.observers: list[Observer] = [PlainScreen(self.lines.append), *observers]
        self.folder = SweepFolder(folder)
        self.ledger = open_ledger(self.space, self.folder, self.observers)
        added, wanted = self.ledger.added, self.ledger.wanted
        taken = len(added) - len(wanted)
        self.sampler = SpaceSampler(self.space, folder / "study.journal", self.ledger.events, taken=taken)
        self.source = SearchSource(self.space, self.sampler, self.ledger.records, added=added, wanted=wanted)
        self.ledger.use(self.source)

    def begin(self) -> Planned:
        planned = self.ledger.begin()
        assert planned is not None
        return planned

    def states(self) -> dict[str, str]:
        return {record.name: record.state for record in self.ledger.records}
