"""What all figures of the report share. The page sets the colours of text and grid, for light and dark displays."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from fervit.progress import clock
from fervit.report.results import Results
from fervit.search.records.record import TrialRecord, short

COLORS = {"finished": "#2a7fba", "stopped": "#8d8d8d", "failed": "#d1603d", "running": "#3f9b6b"}
SYMBOLS = {"finished": "circle", "stopped": "x", "failed": "triangle-up", "running": "diamond"}
BEST = "#e0a100"


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure of the report."""

    figure: go.Figure
    alt: str
    """The text alternative: what the figure shows."""
    height: int = 420
    """The height in pixels."""
    wide: bool = False
    """Whether it needs more width than a phone has, and scrolls there."""


def details(record: TrialRecord, results: Results) -> str:
    """The hover label of a trial, in HTML: its best value, its epochs and its hyperparameters."""
    best = record.best(results.metric)
    lines = [f"<b>{label(record)}</b>, {record.state}"]
    if best is not None:
        lines.append(f"{results.metric.words} {results.metric.value(best):.4f} at epoch {best.epoch}")
        lines.append(f"{len(record.epochs)} epochs, {clock(record.seconds)}")
    if record.why and not record.finished:
        lines.append(record.why)
    if record.expected is not None:
        lines.append(f"{record.expected:.4f} expected in the mean over seeds")
    lines += [f"{name} {short(value)}" for name, value in record.params.items()]
    return "<br>".join(lines)


def label(record: TrialRecord) -> str:
    """The name of a trial, such as "trial 3", "trial 3, seed 43" for a rerun, or "trial 3, fold 2 of 5"."""
    if record.purpose == "fold":
        return f"trial {record.number}, fold {record.fold} of {record.folds}"
    return f"trial {record.number}" if record.purpose == "search" else f"trial {record.number}, seed {record.seed}"
