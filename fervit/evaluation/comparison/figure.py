"""Draws a comparison of models."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fervit.evaluation.comparison.contenders import Compared
from fervit.plotting import PAGE, SMALL, draw, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_comparison(rows: Sequence[Compared], path: Path) -> None:
    """Draws the accuracy and the macro-F1 of each model with their intervals, in the colour of its standing.

    Args:
        rows: the models that were evaluated, the best first.
        path: the path of the picture, which ends in .png, .pdf or .svg.
    """
    draw(partial(comparison_figure, rows), path)


def comparison_figure(rows: Sequence[Compared], width: float = PAGE) -> Figure:
    """The figure of `draw_comparison`.

    Args:
        rows: the models that were evaluated, the best first.
        width: the width of the figure in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 0.9 + 0.36 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colors = {
        "best": "#1f5f8b",
        "tie": "#5c9fcb",
        "worse": "#d1603d",
        "other rows": "#8a8a8a",
    }
    places = np.arange(len(rows))
    for axes, name in ((left, "accuracy"), (right, "f1_macro")):
        for place, row in zip(places, rows, strict=True):
            value, interval = getattr(row, name), getattr(row, f"{name}_95")
            axes.plot(interval, [place, place], color=colors[row.standing], linewidth=1.5)
            axes.plot([value], [place], "o", color=colors[row.standing])
            axes.annotate(f"{value:.3f}", (value, place), (0, 4), textcoords="offset points", ha="center", size=SMALL)
        axes.set_xlabel(f"{'macro-F1' if name == 'f1_macro' else name}, with 95 % interval")
        axes.grid(axis="x", alpha=0.3)
        axes.set_ylim(len(rows) - 0.4, -0.7)
    names = ["\n".join(textwrap.wrap(row.name, 34)) for row in rows]
    left.set_yticks(
        places, [plain(f"{name}\n{row.standing}, {row.split} {row.n}") for name, row in zip(names, rows, strict=True)]
    )
    return figure
