"""Draws a comparison of models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fervit.evaluation.comparison.contenders import Compared
from fervit.plotting import plain, save


def draw_comparison(rows: Sequence[Compared], path: Path) -> None:
    """Draws the accuracy and the macro-F1 of each model with their intervals, in the colour of its standing.

    Args:
        rows: the models that were evaluated, the best first.
        path: the path of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 1.4 + 0.42 * len(rows)), layout="constrained")
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
            axes.plot(interval, [place, place], color=colors[row.standing], linewidth=2)
            axes.plot([value], [place], "o", color=colors[row.standing])
            axes.annotate(f"{value:.3f}", (value, place), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        axes.set_xlabel(f"{'macro-F1' if name == 'f1_macro' else name}, with 95 % interval")
        axes.grid(axis="x", alpha=0.3)
        axes.set_ylim(len(rows) - 0.4, -0.7)
    left.set_yticks(places, [plain(f"{row.name}\n{row.standing}, {row.split} {row.n}") for row in rows], fontsize=8)
    save(figure, path)
