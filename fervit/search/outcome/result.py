"""The result of a sweep."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fervit.evaluation.paired.simple_models import SimpleScores
from fervit.io.files import JsonObject
from fervit.search.outcome.confirm import Confirmed, Gain
from fervit.search.outcome.folds import Folded
from fervit.search.outcome.sealed import Verdict
from fervit.search.records.record import TrialRecord, params_text
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True, repr=False)
class SweepResult:
    """The result of a sweep. Its `repr` is a summary of a few lines, which a notebook shows."""

    folder: Path
    space: SearchSpace
    records: list[TrialRecord]
    """The trials of the search, without reruns."""
    chosen: TrialRecord
    """The run whose model is exported: the one with the best epoch among the runs of the chosen configuration."""
    confirmed: list[Confirmed]
    """The confirmed trials, best of the search first; empty if the space asks for no confirmation."""
    ties: list[Confirmed]
    """The confirmed trials that are not significantly worse than the chosen one."""
    left_out: list[TrialRecord]
    """The trials that were to be confirmed, but of which no rerun with a fresh seed finished."""
    gain: Gain | None
    """By how much the chosen configuration is better than the baseline (warm start 1, or the guide's configuration);
    None if the baseline itself is chosen or was not confirmed."""
    front: list[TrialRecord]
    """The Pareto front, cheapest first; empty if the metric has no second objective (`metric.against`)."""
    ended_because: str
    """Why the search ended early; "" if it ran all its trials."""
    verdict: Verdict
    encoder: JsonObject
    seconds: float
    """The seconds that all sessions took together."""
    simple: list[SimpleScores] = field(default_factory=list)
    """What simple models reach on the same codes and faces; empty if they could not be measured."""
    confirmation_ended_because: str = ""
    """Why the confirmation ended early; "" if all its reruns ran."""
    folds: Folded | None = None
    """The chosen configuration over folds; None if the space asks for none, or none finished."""
    train_again: str = ""
    """The command that trains the chosen run again; "" if it is not known."""

    @property
    def best(self) -> TrialRecord:
        """The run whose model is exported, the same as `chosen`."""
        return self.chosen

    @property
    def model(self) -> Path:
        """The folder of the exported model, for `fervit.load` and `fervit.evaluate`."""
        return SweepFolder(self.folder).best

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
