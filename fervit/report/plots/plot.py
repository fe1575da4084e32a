"""What all figures of the report share. Colours of text and grid are set in the page, light or dark."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from fervit.progress import clock
from fervit.report.results import Story
from fervit.search.records.record import TrialRecord, short

COLORS = {"finished": "#2a7fba", "stopped": "#8d8d8d", "failed": "#d1603d", "running": "#3f9b6b"}
SYMBOLS = {"finished": "circle", "stopped": "x", "failed": "triangle-up", "running": "diamond"}
BEST = "#e0a100"


@dataclass(frozen=True, kw_only=True)
class Plot:
    figure: go.Figure
    alt: str
    """What it shows, in words."""
    height: int = 420


def details(record: TrialRecord, story: Story) -> str:
    """A trial in a hover label."""
    best = record.best(story.metric)
    lines = [f"<b>{label(record)}</b>, {record.state}"]
    if best is not None:
        lines.append(f"{story.metric.name} {story.metric.value(best):.4f} at epoch {best.epoch}")
        lines.append(f"{len(record.epochs)} epochs, {clock(record.seconds)}")
    lines += [f"{name} {short(value)}" for name, value in record.params.items()]
    return "<br>".join(lines)


def label(record: TrialRecord) -> str:
    """Such as "trial 3", or "trial 3, seed 43"."""
    return f"trial {record.number}" if record.purpose == "search" else f"trial {record.number}, seed {record.seed}"
