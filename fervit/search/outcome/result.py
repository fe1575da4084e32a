"""What a sweep came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fervit.files import JsonObject
from fervit.search.outcome.confirm import Confirmed
from fervit.search.outcome.sealed import Verdict
from fervit.search.records.record import TrialRecord, params_text
from fervit.search.space.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True, repr=False)
class SweepResult:
    """What a sweep came to. `repr` gives it on a few lines, as a notebook shows it."""

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
    encoder: JsonObject
    seconds: float
    """Of all sessions."""

    @property
    def best(self) -> TrialRecord:
        """The run whose model is exported, under the name that `fervit.tune` promises."""
        return self.chosen

    @property
    def model(self) -> Path:
        """The folder of the exported model, for `fervit.load` and `fervit.evaluate`."""
        return self.folder / "best"

    def __repr__(self) -> str:
        metric, evaluation = self.space.metric, self.verdict.evaluation
        best = self.chosen.best_value(metric)
        value = f", {metric.name} {best:.3f} on validation" if best is not None else ""
        test = f"{evaluation.split}: macro-F1 {evaluation.metrics['f1_macro']:.3f} on {evaluation.metrics['n']} faces"
        return (
            f"SweepResult({self.space.name}: {len(self.records)} trials\n"
            f"  best:   {self.chosen.name}{value}\n"
            f"          {params_text(self.chosen.params)}\n"
            f"  {test}\n"
            f"  folder: {self.folder})"
        )
