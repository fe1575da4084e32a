"""Draws confusion matrices with Matplotlib, and saves figures."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fervit.io.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plain(text: str) -> str:
    """Escapes a text so that Matplotlib draws it literally, since `$` would begin a formula."""
    return text.replace("$", r"\$")


def draw_confusion_matrix(counts: np.ndarray, classes: Sequence[str], title: str, path: Path) -> None:
    """Writes the figure of `confusion_figure` as a PNG."""
    save(confusion_figure(counts, classes, title), path)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG that appears whole or not at all."""
    with whole_file(path) as aside, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure.savefig(aside, format="png", dpi=110)


def confusion_figure(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draws a confusion matrix twice: as shares of each true class, and as counts.

    Args:
        counts: the confusion matrix, integers [C, C]; rows are true classes, columns are predicted classes.
        classes: the names of the classes.
        title: the title of the figure.
    """
    from matplotlib.figure import Figure

    true = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, true, out=np.zeros(counts.shape), where=true > 0)
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, values, texts, name in (
        (left, shares, [[f"{v:.2f}" for v in row] for row in shares], "share of the true class"),
        (right, counts, [[str(v) for v in row] for row in counts], "faces"),
    ):
        image = axes.imshow(values, cmap="Blues", vmin=0, vmax=1 if name.startswith("share") else None)
        axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(classes)), classes)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(name)
        dark = values > 0.6 * max(values.max(), 1e-9)
        for i, row in enumerate(texts):
            for j, text in enumerate(row):
                axes.text(j, i, text, ha="center", va="center", color="white" if dark[i, j] else "black")
        figure.colorbar(image, ax=axes, shrink=0.8)
    figure.suptitle(plain(title))
    return figure
