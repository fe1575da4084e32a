"""Figures of the hyperparameters: importance, parallel coordinates, slices, the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fervit.report.plots.plot import BEST, COLORS, SYMBOLS, Plot, details, label
from fervit.report.results import Results
from fervit.search.records.ranking import pareto_front
from fervit.search.records.record import TrialRecord, short
from fervit.search.space.search_space import Range

BANDS = 8
"""The number of shades of the lines in parallel coordinates."""


def importance(shares: Mapping[str, float]) -> Plot | None:
    """Draws the shares that `importances` gives as bars; None without shares."""
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


def parallel(results: Results) -> Plot | None:
    """Draws parallel coordinates: a line for each trial over all hyperparameters, darker for better values.

    The lines are a scatter plot, which can be hovered and printed. None with fewer than two trials.
    """
    trials, values = _with_values(results)
    if len(trials) < 2:
        return None
    axes = [*results.parameters, results.metric.name]
    scaled = [_axis(results, name, trials, values) for name in axes]
    heights = np.array([heights_of_axis for heights_of_axis, _ in scaled])  # [axes, trials]
    order = np.argsort(values if results.metric.goal == "maximize" else -np.array(values), kind="stable")
    figure = go.Figure()
    _add_bands(figure, heights, order, [details(record, results) for record in trials])
    for i, (_, marks) in enumerate(scaled):
        figure.add_shape(type="line", x0=i, x1=i, y0=0, y1=1, line={"width": 1, "color": "#888"}, layer="below")
        for height, text in marks:
            figure.add_annotation(
                x=i, y=height, text=text, showarrow=False, xanchor="left", xshift=4, font={"size": 11}
            )
    figure.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=[*results.parameters, results.metric.words],
        range=[-0.1, len(axes) - 0.6],
        showgrid=False,
    )
    figure.update_yaxes(visible=False, range=[-0.06, 1.06])
    alt = (
        f"Parallel coordinates of {len(trials)} trials over {', '.join(results.parameters)}; the stronger, the better."
    )
    return Plot(figure=figure, alt=alt, height=460, wide=True)


def _axis(
    results: Results, name: str, trials: Sequence[TrialRecord], values: Sequence[float]
) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """The heights of the trials on the axis of a hyperparameter or the metric, and the marks of the axis."""
    if name not in results.parameters:
        return _scaled(values, False, [])
    assert results.space is not None
    distribution = results.space.parameters[name]
    options = [str(option) for option in distribution.options() or ()]
    return _scaled([record.params.get(name) for record in trials], _is_log(distribution), options)


def _add_bands(figure: go.Figure, heights: np.ndarray, order: np.ndarray, labels: Sequence[str]) -> None:
    """Adds the lines of all trials, in bands of one shade each.

    Args:
        figure: the figure.
        heights: the height of each trial on each axis, [axes, trials].
        order: the numbers of the trials, the worst first.
        labels: the hover label of each trial.
    """
    axes, trials = heights.shape
    for band, rows in enumerate(np.array_split(order, min(BANDS, len(order)))):
        shade = band / max(1, min(BANDS, len(order)) - 1)
        x = np.tile([*range(axes), np.nan], len(rows))
        y = np.concatenate([[*heights[:, row], np.nan] for row in rows])
        texts = [text for row in rows for text in [labels[row]] * (axes + 1)]
        figure.add_scatter(
            x=x,
            y=y,
            text=texts if trials <= 600 else None,
            mode="lines",
            line={"color": _shade(shade), "width": 1 + shade},
            opacity=0.35 + 0.6 * shade,
            showlegend=False,
            hovertemplate="%{text}<extra></extra>",
        )


def slices(results: Results) -> list[Plot]:
    """Draws a figure for each hyperparameter: the best value of each trial over it."""
    trials, values = _with_values(results)
    if len(trials) < 2:
        return []
    assert results.space is not None
    return [_slice(results, name, trials, values) for name in results.parameters]


def _slice(results: Results, name: str, trials: Sequence[TrialRecord], values: Sequence[float]) -> Plot:
    assert results.space is not None
    distribution = results.space.parameters[name]
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
    figure.update_yaxes(title=results.metric.words)
    return Plot(figure=figure, alt=f"Best {results.metric.words} of each trial against {name}.", height=270)


def pareto(results: Results) -> Plot | None:
    """Draws the trials over their cost, and the Pareto front; None if the search has no second objective."""
    against = results.metric.against
    trials, values = _with_values(results)
    points = [(record, value) for record, value in zip(trials, values, strict=True) if record.cost is not None]
    if against is None or not points:
        return None
    front = pareto_front([record for record, _ in points], results.metric)
    figure = go.Figure()
    figure.add_scatter(
        x=[record.cost for record, _ in points],
        y=[value for _, value in points],
        text=[details(record, results) for record, _ in points],
        mode="markers",
        marker={"color": COLORS["stopped"], "size": 7},
        name="trials",
        hovertemplate="%{text}<extra></extra>",
    )
    bests = [record.best_value(results.metric) for record in front]
    figure.add_scatter(
        x=[record.cost for record in front],
        y=[best for best in bests if best is not None],
        text=[details(record, results) for record in front],
        mode="lines+markers",
        line={"color": BEST, "shape": "hv"},
        marker={"color": BEST, "size": 9},
        name="best at its cost",
        hovertemplate="%{text}<extra></extra>",
    )
    figure.update_xaxes(title=against, type="log")
    figure.update_yaxes(title=f"{results.metric.words} on validation")
    best = f"{len(front)} of them are best at their cost."
    alt = f"{results.metric.words} against {against} of {len(points)} trials; {best}"
    return Plot(figure=figure, alt=alt)


def _with_values(results: Results) -> tuple[list[TrialRecord], list[float]]:
    """The trials of a sweep that have an epoch and did not fail, and their best values."""
    if results.space is None:
        return [], []
    trials = [record for record in results.records if record.epochs and record.state != "failed"]
    bests = [record.best_value(results.metric) for record in trials]
    return trials, [best for best in bests if best is not None]


def _is_log(distribution: object) -> bool:
    return isinstance(distribution, Range) and (distribution.log or distribution.kind == "log_uniform")


def _scaled(column: Sequence[Any], log: bool, order: Sequence[str]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Scales the values of an axis to heights 0..1.

    Args:
        column: the value of each trial, None if it has none.
        log: whether numbers are scaled logarithmically.
        order: the order of values that are names.

    Returns:
        The heights, NaN for None, and the marks of the axis as pairs of height and text.
    """
    known = [value for value in column if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known) and known:
        return _scaled_numbers(column, log, sorted(set(known)))
    names = list(dict.fromkeys([*order, *map(str, known)]))
    heights = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
    marks_of_names = [(height, name) for name, height in heights.items()]
    return np.array([np.nan if value is None else heights[str(value)] for value in column]), marks_of_names


def _scaled_numbers(
    column: Sequence[float | None], log: bool, distinct: Sequence[float]
) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """`_scaled` for numbers, of which `distinct` are the different ones in ascending order."""
    scale = np.log10 if log else np.asarray
    numbers = np.array([np.nan if value is None else scale(float(value)) for value in column], float)
    low, high = np.nanmin(numbers), np.nanmax(numbers)
    if high == low:
        return np.where(np.isnan(numbers), np.nan, 0.5), [(0.5, short(distinct[0]))]
    if len(distinct) <= 6:
        marks = [(scale(mark), short(mark)) for mark in distinct]
    else:
        marks = [(scale(mark), short(float(mark))) for mark in (10**x if log else x for x in np.linspace(low, high, 4))]
    return (numbers - low) / (high - low), [(float((place - low) / (high - low)), text) for place, text in marks]


def _shade(share: float) -> str:
    """A colour between light and dark blue for a share 0..1, readable on light and dark backgrounds."""
    light, dark = np.array([158, 190, 214]), np.array([16, 94, 160])
    red, green, blue = (light + share * (dark - light)).round().astype(int)
    return f"rgb({red},{green},{blue})"
