"""Figures of the hyperparameters: importance, parallel coordinates, slices, the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fervit.report.plots.plot import BEST, COLORS, SYMBOLS, Plot, details, label
from fervit.report.results import Story
from fervit.search.records.ranking import pareto_front
from fervit.search.records.record import TrialRecord, short
from fervit.search.space.search_space import Range

BANDS = 8
"""Shades of the lines of parallel coordinates."""


def importance(shares: Mapping[str, float]) -> Plot | None:
    """Bars of `importances`."""
    if not shares:
        return None
    names = list(shares)[::-1]
    values = [shares[name] for name in names]
    bars = go.Bar(
        x=values,
        y=names,
        orientation="h",
        marker={"color": COLORS["finished"]},
        text=[f"{100 * value:.0f} %" for value in values],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure = go.Figure(bars)
    figure.update_xaxes(title="share of the variance", range=[0, 1.1 * max(values)])
    listed = ", ".join(f"{name} {100 * share:.0f} percent" for name, share in shares.items())
    return Plot(figure=figure, alt=f"Importance of the hyperparameters: {listed}.", height=110 + 36 * len(names))


def parallel(story: Story) -> Plot | None:
    """A line a trial over all parameters, the better the stronger; drawn as lines, which can be hovered and printed."""
    trials, values = _with_values(story)
    if len(trials) < 2:
        return None
    assert story.space is not None
    axes = [*story.parameters, story.metric.name]
    places, ticks = [], []
    for name in axes:
        column = values if name == story.metric.name else [record.params.get(name) for record in trials]
        log = name in story.parameters and _is_log(story.space.parameters[name])
        options = story.space.parameters[name].options() if name in story.parameters else None
        heights, marks = _scaled(column, log, [str(option) for option in options or ()])
        places.append(heights)
        ticks.append(marks)
    heights = np.array(places)  # [axes, trials]
    order = np.argsort(values if story.metric.goal == "maximize" else -np.array(values), kind="stable")
    figure = go.Figure()
    for band, rows in enumerate(np.array_split(order, min(BANDS, len(order)))):
        shade = band / max(1, min(BANDS, len(order)) - 1)
        x = np.tile([*range(len(axes)), np.nan], len(rows))
        y = np.concatenate([[*heights[:, row], np.nan] for row in rows])
        texts = [text for row in rows for text in [details(trials[row], story)] * (len(axes) + 1)]
        figure.add_scatter(
            x=x,
            y=y,
            text=texts if len(trials) <= 600 else None,
            mode="lines",
            line={"color": _shade(shade), "width": 1 + shade},
            opacity=0.35 + 0.6 * shade,
            showlegend=False,
            hovertemplate="%{text}<extra></extra>",
        )
    for i, marks in enumerate(ticks):
        figure.add_shape(type="line", x0=i, x1=i, y0=0, y1=1, line={"width": 1, "color": "#888"}, layer="below")
        for height, text in marks:
            figure.add_annotation(
                x=i, y=height, text=text, showarrow=False, xanchor="left", xshift=4, font={"size": 11}
            )
    figure.update_xaxes(tickvals=list(range(len(axes))), ticktext=axes, range=[-0.1, len(axes) - 0.6], showgrid=False)
    figure.update_yaxes(visible=False, range=[-0.06, 1.06])
    alt = f"Parallel coordinates of {len(trials)} trials over {', '.join(story.parameters)}; the stronger, the better."
    return Plot(figure=figure, alt=alt, height=460)


def slices(story: Story) -> list[Plot]:
    """The best value of each trial over each parameter, a figure a parameter."""
    trials, values = _with_values(story)
    if len(trials) < 2:
        return []
    assert story.space is not None
    return [_slice(story, name, trials, values) for name in story.parameters]


def _slice(story: Story, name: str, trials: Sequence[TrialRecord], values: Sequence[float]) -> Plot:
    assert story.space is not None
    distribution = story.space.parameters[name]
    is_number = isinstance(distribution, Range)
    figure = go.Figure()
    for state, color in COLORS.items():
        here = [k for k, record in enumerate(trials) if name in record.params and record.state == state]
        if here:
            figure.add_scatter(
                x=[trials[k].params[name] if is_number else str(trials[k].params[name]) for k in here],
                y=[values[k] for k in here],
                text=[f"{label(trials[k])}<br>{name} {short(trials[k].params[name])}" for k in here],
                mode="markers",
                marker={"color": color, "symbol": SYMBOLS[state], "size": 6},
                opacity=0.75,
                showlegend=False,
                hovertemplate="%{text}<br>%{y:.4f}<extra></extra>",
            )
    figure.update_xaxes(title=name, type="log" if _is_log(distribution) else "linear" if is_number else "category")
    if not is_number:
        options = [str(value) for value in distribution.options() or ()]
        figure.update_xaxes(categoryorder="array", categoryarray=options)
    figure.update_yaxes(title=story.metric.name)
    return Plot(figure=figure, alt=f"Best {story.metric.name} of each trial against {name}.", height=270)


def pareto(story: Story) -> Plot | None:
    """What is best at its cost."""
    against = story.metric.against
    trials, values = _with_values(story)
    points = [(record, value) for record, value in zip(trials, values, strict=True) if record.cost is not None]
    if against is None or not points:
        return None
    front = pareto_front([record for record, _ in points], story.metric)
    figure = go.Figure()
    figure.add_scatter(
        x=[record.cost for record, _ in points],
        y=[value for _, value in points],
        text=[details(record, story) for record, _ in points],
        mode="markers",
        marker={"color": COLORS["stopped"], "size": 7},
        name="trials",
        hovertemplate="%{text}<extra></extra>",
    )
    bests = [record.best_value(story.metric) for record in front]
    figure.add_scatter(
        x=[record.cost for record in front],
        y=[best for best in bests if best is not None],
        text=[details(record, story) for record in front],
        mode="lines+markers",
        line={"color": BEST, "shape": "hv"},
        marker={"color": BEST, "size": 9},
        name="best at its cost",
        hovertemplate="%{text}<extra></extra>",
    )
    figure.update_xaxes(title=against, type="log")
    figure.update_yaxes(title=f"{story.metric.name} on validation")
    alt = f"{story.metric.name} against {against} of {len(points)} trials; {len(front)} of them are best at their cost."
    return Plot(figure=figure, alt=alt)


def _with_values(story: Story) -> tuple[list[TrialRecord], list[float]]:
    """The trials of a sweep that have an epoch and did not fail, and their best values."""
    if story.space is None:
        return [], []
    trials = [record for record in story.records if record.epochs and record.state != "failed"]
    bests = [record.best_value(story.metric) for record in trials]
    return trials, [best for best in bests if best is not None]


def _is_log(distribution: object) -> bool:
    return isinstance(distribution, Range) and (distribution.log or distribution.kind == "log_uniform")


def _scaled(column: Sequence[Any], log: bool, order: Sequence[str]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Heights 0..1 of values on an axis, NaN where there is none, and the marks of the axis; names go by `order`."""
    known = [value for value in column if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known) and known:
        scale = np.log10 if log else np.asarray
        numbers = np.array([np.nan if value is None else scale(float(value)) for value in column], float)
        low, high = np.nanmin(numbers), np.nanmax(numbers)
        if high == low:
            return np.where(np.isnan(numbers), np.nan, 0.5), [(0.5, short(known[0]))]
        distinct = sorted(set(known))
        marks = distinct if len(distinct) <= 6 else [10**x if log else x for x in np.linspace(low, high, 4)]
        return (numbers - low) / (high - low), [
            (float((scale(mark) - low) / (high - low)), short(float(mark) if len(distinct) > 6 else mark))
            for mark in marks
        ]
    names = list(dict.fromkeys([*order, *map(str, known)]))
    heights = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
    marks_of_names = [(height, name) for name, height in heights.items()]
    return np.array([np.nan if value is None else heights[str(value)] for value in column]), marks_of_names


def _shade(share: float) -> str:
    """From a light grey blue to a dark blue that both backgrounds bear."""
    light, dark = np.array([158, 190, 214]), np.array([16, 94, 160])
    red, green, blue = (light + share * (dark - light)).round().astype(int)
    return f"rgb({red},{green},{blue})"
