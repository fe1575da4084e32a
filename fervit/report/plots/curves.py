"""Figures over time: the learning curves, and a timeline of the trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from fervit.progress import clock
from fervit.report.plots.plot import BEST, COLORS, SYMBOLS, Plot, details, label
from fervit.report.results import Results
from fervit.report.times import Times
from fervit.search.records.ranking import counts_by_state
from fervit.search.records.record import TrialRecord

LINE_POINTS = 30_000
"""The approximate number of points of all curves together. Longer curves are thinned out, but keep their ends."""


def curves(results: Results) -> Plot | None:
    """Draws the metric of every trial over its epochs, with marks where trials ended; None before the first epoch."""
    name, trials = results.metric.words, [record for record in results.records if record.epochs]
    if not trials:
        return None
    figure = go.Figure()
    _add_lines(figure, trials, results)
    _add_ends(figure, trials, results)
    counted = ", ".join(f"{n} {state}" for state, n in counts_by_state(trials).items())
    alt = f"Learning curves of {len(trials)} trials ({counted})."
    best = results.chosen.best(results.metric) if results.chosen is not None else None
    if results.chosen is None or best is None:
        alt += " None of them counts: all failed."
    else:
        if results.kind == "sweep":
            _add_best(figure, results.chosen, results)
        else:
            _add_losses(figure, results.chosen)
        value = results.metric.value(best)
        alt += f" The best, {label(results.chosen)}, reaches {name} {value:.3f} at epoch {best.epoch}."
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title=f"{name} on validation")
    return Plot(figure=figure, alt=alt, height=480)


def _add_lines(figure: go.Figure, trials: Sequence[TrialRecord], results: Results) -> None:
    """Adds the curves of all trials: one line for each state, with a gap between trials.

    The last point of a curve says what the mark on it says, since either may be nearer to the mouse.
    """
    metric = results.metric
    step = max(1, sum(len(record.epochs) for record in trials) // LINE_POINTS)
    for state, color in COLORS.items():
        x: list[float | None] = []
        y: list[float | None] = []
        texts: list[str] = []
        for record in (r for r in trials if r.state == state):
            n = len(record.epochs)
            rows = [record.epochs[i] for i in range(n) if i % step == 0 or i == n - 1]
            x += [*(row.epoch for row in rows), None]
            y += [*(metric.value(row) for row in rows), None]
            texts += [*[f"trial {record.number}"] * (len(rows) - 1), details(record, results), ""]
        if x:
            figure.add_scatter(
                x=_floats(x),
                y=_floats(y),
                text=texts,
                mode="lines",
                line={"color": color, "width": 1.2},
                opacity=0.45 if len(trials) > 10 else 0.8,
                legendgroup=state,
                showlegend=False,
                hovertemplate="%{text}<br>epoch %{x}: %{y:.4f}<extra></extra>",
            )


def _add_ends(figure: go.Figure, trials: Sequence[TrialRecord], results: Results) -> None:
    """Adds a mark for the last epoch of each trial."""
    for state, color in COLORS.items():
        ends = [record for record in trials if record.state == state]
        if ends:
            figure.add_scatter(
                x=[record.epochs[-1].epoch for record in ends],
                y=[results.metric.value(record.epochs[-1]) for record in ends],
                text=[details(record, results) for record in ends],
                mode="markers",
                marker={"color": color, "symbol": SYMBOLS[state], "size": 7},
                name=f"{state} ({len(ends)})",
                legendgroup=state,
                hovertemplate="%{text}<extra></extra>",
            )


def _add_best(figure: go.Figure, record: TrialRecord, results: Results) -> None:
    """Adds the curve of the best trial again, in a colour of its own."""
    metric, before = results.metric, len(record.epochs) - 1
    figure.add_scatter(
        x=[row.epoch for row in record.epochs],
        y=[metric.value(row) for row in record.epochs],
        text=[*["the best"] * before, f"the best: {details(record, results)}"],
        mode="lines",
        line={"color": BEST, "width": 3},
        name=f"the best, {label(record)}",
        hovertemplate="%{text}<br>epoch %{x}: %{y:.4f}<extra></extra>",
    )


def _add_losses(figure: go.Figure, record: TrialRecord) -> None:
    """Adds the training and the validation loss of a run, with an axis of their own."""
    for column, dash in (("train_loss", "dot"), ("val_loss", "solid")):
        figure.add_scatter(
            x=[row.epoch for row in record.epochs],
            y=[getattr(row, column) for row in record.epochs],
            mode="lines",
            line={"dash": dash, "color": "#d1603d"},
            name=column,
            yaxis="y2",
        )
    figure.update_layout(yaxis2={"overlaying": "y", "side": "right", "title": "loss", "showgrid": False})


def timeline(times: Times, results: Results) -> Plot:
    """Draws when each trial ran in which slot of the sweep."""
    figure = go.Figure()
    for state, color in COLORS.items():
        lanes = [lane for lane in times.lanes if lane.record.state == state]
        if lanes:
            figure.add_bar(
                base=[lane.begin / 60 for lane in lanes],
                x=[(lane.end - lane.begin) / 60 for lane in lanes],
                y=[lane.slot + 1 for lane in lanes],
                orientation="h",
                marker={"color": color, "line": {"width": 1, "color": "rgba(255,255,255,0.6)"}},
                name=state,
                text=[details(lane.record, results) for lane in lanes],
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
            )
    figure.update_layout(barmode="overlay", bargap=0.15)
    figure.update_xaxes(title="minutes since the sweep began, pauses left out", rangemode="tozero")
    figure.update_yaxes(title="place", dtick=1 if times.slots <= 20 else None, autorange="reversed")
    alt = f"Timeline of {len(times.lanes)} trials and reruns at {times.slots} places over {clock(times.elapsed)}."
    return Plot(figure=figure, alt=alt, height=min(700, 130 + 46 * times.slots))


def _floats(values: Sequence[float | None]) -> np.ndarray:
    """float32 [n], NaN for None."""
    return np.array([np.nan if value is None else value for value in values], np.float32)
