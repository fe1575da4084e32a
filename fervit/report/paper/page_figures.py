"""Draws the report's Plotly figures with Matplotlib, so that a paper shows what the page shows.

It knows what the figures in `fervit/report/plots` use: scatter plots, bars, two y axes, names or numbers on an axis.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from fervit.plotting import PAGE, SMALL, lean, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = {"circle": "o", "x": "x", "triangle-up": "^", "diamond": "D"}
DASHES = {"solid": "-", "dot": ":", "dash": "--"}
PIXELS = 160
"""The pixels of the page that are an inch on paper."""
LEAST_HEIGHT = 1.9


def page_figure(drawn: go.Figure, height: int, width: float = PAGE) -> Figure:
    """Draws a figure of the page.

    Args:
        drawn: the figure.
        height: its height on the page in pixels.
        width: the width of the new figure in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, max(LEAST_HEIGHT, height / PIXELS)), layout="constrained")
    axes = figure.subplots()
    second = axes.twinx() if any(getattr(trace, "yaxis", None) == "y2" for trace in drawn.data) else None
    named = [list(map(str, axis.categoryarray or ())) for axis in (drawn.layout.xaxis, drawn.layout.yaxis)]
    bars = [trace for trace in drawn.data if trace.type == "bar"]
    for trace in drawn.data:
        own = second if second is not None and getattr(trace, "yaxis", None) == "y2" else axes
        if trace.type == "bar":
            _bars(own, trace, bars)
        else:
            _scatter(own, trace, named)
    _axis(axes, "x", drawn.layout.xaxis, named[0], width)
    _axis(axes, "y", drawn.layout.yaxis, named[1], width)
    if second is not None:
        second.set_ylabel(plain(drawn.layout.yaxis2.title.text or ""))
    if drawn.layout.yaxis.visible is not False:
        axes.grid(alpha=0.3)
    _lines_and_texts(axes, drawn.layout, width)
    _legend(figure, [axes, *([second] if second is not None else [])], width)
    return figure


def _scatter(axes: Axes, trace: Any, named: Sequence[list[str]]) -> None:
    """Draws lines, markers, or both."""
    x, y = (_numbers(values, names) for values, names in zip((trace.x, trace.y), named, strict=True))
    lines, marks = "lines" in (trace.mode or ""), "markers" in (trace.mode or "")
    color = _color(trace.line.color or trace.marker.color or "#2a7fba")
    axes.plot(
        x,
        y,
        color=color,
        linestyle=DASHES.get(trace.line.dash or "solid", "-") if lines else "none",
        linewidth=0.6 * (trace.line.width or 2),
        drawstyle="steps-post" if trace.line.shape == "hv" else "default",
        marker=MARKERS.get(trace.marker.symbol or "circle", "o") if marks else "none",
        markersize=0.55 * (trace.marker.size or 6),
        alpha=trace.opacity,
        label=_label(trace),
    )


def _bars(axes: Axes, trace: Any, bars: Sequence[Any]) -> None:
    """Draws horizontal bars, each with its text beside it if it shows one."""
    names = list(dict.fromkeys(name for one in bars for name in one.y))
    are_names = any(isinstance(name, str) for name in names)
    places = [names.index(name) for name in trace.y] if are_names else list(trace.y)
    base = list(trace.base) if trace.base is not None else [0.0] * len(places)
    drawn = axes.barh(
        places, list(trace.x), 0.8, left=base, color=_color(trace.marker.color), edgecolor="white", linewidth=0.4
    )
    drawn.set_label(_label(trace))
    if are_names:
        axes.set_yticks(range(len(names)), [plain(name) for name in names])
    if trace.textposition == "outside":
        axes.bar_label(drawn, [plain(text) for text in trace.text], padding=2, size=SMALL)


def _label(trace: Any) -> str:
    """The name in the legend; one that begins with _ is not in it."""
    return plain(trace.name) if trace.name and trace.showlegend is not False else "_"


def _axis(axes: Axes, which: str, axis: Any, names: Sequence[str], width: float) -> None:
    """Sets the title, the scale, the ends and the marks of an axis."""
    from matplotlib.ticker import LogLocator, MaxNLocator, MultipleLocator, NullFormatter

    own = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}label": plain(axis.title.text or "")})
    if axis.type == "log":
        axes.set(**{f"{which}scale": "log"})
        own.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        own.set_minor_formatter(NullFormatter())
        own.set_major_formatter(lambda value, _: f"{value:g}")  # 10 to a power would have too small digits
    elif axis.range is not None:
        axes.set(**{f"{which}lim": tuple(axis.range)})
    if axis.tickvals is not None:
        own.set_ticks(list(axis.tickvals), [plain(text) for text in axis.ticktext])
    elif names:
        own.set_ticks(range(len(names)), [plain(name) for name in names])
        axes.set(**{f"{which}lim": (-0.5, len(names) - 0.5)})
    elif axis.dtick:
        own.set_major_locator(MultipleLocator(axis.dtick))
    elif axis.title.text == "epoch":
        own.set_major_locator(MaxNLocator(integer=True))
    if axis.rangemode == "tozero":
        axes.set(**{f"{which}lim": (0, None)})
    if axis.autorange == "reversed":
        own.set_inverted(True)
    if axis.visible is False:
        own.set_visible(False)
    crowded = sum(len(label.get_text()) + 1 for label in own.get_ticklabels()) * 0.6 * SMALL / 72
    if which == "x" and (axis.tickvals is not None or names) and crowded > width - 0.8:
        lean(axes)


def _lines_and_texts(axes: Axes, layout: Any, width: float) -> None:
    """Draws the straight lines and the texts that lie on the figure."""
    for shape in layout.shapes:
        axes.plot([shape.x0, shape.x1], [shape.y0, shape.y1], color=_color(shape.line.color), linewidth=0.6, zorder=1)
    last = max((text.x for text in layout.annotations), default=0)
    for text in layout.annotations:
        inwards = text.x == last and width < PAGE  # a column has no room to the right of its last axis
        axes.annotate(
            plain(text.text),
            (text.x, text.y),
            (-3 if inwards else 3, 0),
            textcoords="offset points",
            size=SMALL,
            va="center",
            ha="right" if inwards else "left",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 0.5},
        )


def _legend(figure: Figure, panels: Sequence[Axes], width: float) -> None:
    """Puts the names of all traces above the figure, in as many rows as they take."""
    found = [panel.get_legend_handles_labels() for panel in panels]
    handles = [handle for parts in found for handle in parts[0]]
    labels = [label for parts in found for label in parts[1]]
    if labels:
        each = (max(map(len, labels)) * 0.6 * SMALL + 34) / 72
        columns = max(1, min(len(labels), int(width / each)))
        figure.legend(handles, labels, loc="outside upper left", ncols=columns)


def _numbers(values: Any, names: Sequence[str]) -> np.ndarray:
    """The places of values on an axis; those of names are their numbers in `names`."""
    if names:
        return np.array([names.index(str(value)) for value in values], float)
    return np.array([np.nan if value is None else value for value in values], float)


def _color(text: str) -> str | tuple[float, ...]:
    """A colour of CSS as Matplotlib takes it."""
    if not text.startswith("rgb"):
        return text
    parts = [float(part) for part in re.findall(r"[\d.]+", text)]
    return tuple([part / 255 for part in parts[:3]] + parts[3:])
