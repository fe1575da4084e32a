"""Draws and saves figures with Matplotlib: one drawing for the screen (PNG with a title) and for papers (PDF, SVG)."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervit.io.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.4, 7.0
"""The widths of a column and of a page of a paper, in inches."""
DOTS = 200
"""The dots per inch of a PNG."""
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # TrueType, which journals take; Matplotlib's own default is Type 3
    "svg.hashsalt": "fervit",  # the same figure gives the same file
}
"""Matplotlib's settings of all figures, sizes of type in points. None is below 7 points."""
SMALL = 7.0
"""The size of the smallest type in points."""
UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
"""Metadata that leave the time out of a file, by its format."""

Painter = Callable[[float], "Figure"]
"""Makes a figure without a title at a width in inches."""


def plain(text: str) -> str:
    """Escapes a text so that Matplotlib draws it literally, since `$` would begin a formula."""
    return text.replace("$", r"\$")


def painted(painter: Painter, width: float = PAGE, title: str = "") -> Figure:
    """Makes a figure in fervit's style, with a title above it unless that is ""."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = painter(width)
        if title:
            wrapped = (textwrap.fill(line, round(14 * figure.get_figwidth())) for line in title.split("\n"))
            figure.suptitle(plain("\n".join(wrapped)))
        figure.draw_without_rendering()  # lays it out and makes all ticks while the style holds
        figure.set_layout_engine("none")  # so that saving does not lay it out again
    return figure


def draw(painter: Painter, *paths: Path, width: float = PAGE, title: str = "") -> None:
    """Writes a figure into files that appear whole or not at all, in the formats that their names end in.

    Args:
        painter: makes the figure.
        paths: the paths of the files, which end in .png, .pdf or .svg.
        width: the width of the picture or page in inches.
        title: a text above the figure; "" for none, as papers want it.
    """
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure = painted(painter, width, title)
        for path in paths:
            kind = path.suffix[1:].lower()
            with whole_file(path) as aside:
                figure.savefig(aside, format=kind, dpi=DOTS, metadata=UNDATED[kind])


def draw_confusion_matrix(counts: np.ndarray, classes: Sequence[str], title: str, path: Path) -> None:
    """Writes the figure of `confusion_figure` as a PNG, so wide that the cells hold their numbers."""
    draw(partial(confusion_figure, counts, classes), path, width=max(PAGE, 0.9 * len(classes)), title=title)


def confusion_figure(counts: np.ndarray, classes: Sequence[str], width: float = PAGE) -> Figure:
    """Draws a confusion matrix twice: as shares of each true class, and as counts.

    Both are side by side on a page, and one above the other in a column. Cells too small for 7-point type stay without
    numbers.

    Args:
        counts: the confusion matrix, integers [C, C]; rows are true classes, columns are predicted classes.
        classes: the names of the classes.
        width: the width of the figure in inches.
    """
    from matplotlib.figure import Figure

    true = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, true, out=np.zeros(counts.shape), where=true > 0)
    beside = width >= PAGE
    figure = Figure(figsize=(width, 0.47 * width if beside else 1.75 * width), layout="constrained")
    panels = figure.subplots(1, 2) if beside else figure.subplots(2, 1)
    for axes, values, texts, name in (
        (panels[0], shares, [[f"{v:.2f}" for v in row] for row in shares], "share of the true class"),
        (panels[1], counts, [[str(v) for v in row] for row in counts], "faces"),
    ):
        image = axes.imshow(values, cmap="Blues", vmin=0, vmax=1 if name.startswith("share") else None)
        axes.set_xticks(range(len(classes)), [plain(name) for name in classes])
        lean(axes)
        axes.set_yticks(range(len(classes)), [plain(name) for name in classes])
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        write_cells(axes, image, texts, (width / 2 if beside else width) - 1.3)
        figure.colorbar(image, ax=axes, shrink=0.8, label=name)
    return figure


def lean(axes: Axes) -> None:
    """Turns the labels of the x axis so that long ones do not run into each other."""
    for tick in axes.get_xticklabels():
        tick.set(rotation=45, ha="right", rotation_mode="anchor")


def write_cells(axes: Axes, image: Any, texts: Sequence[Sequence[str]], width: float) -> None:
    """Writes a text into each cell of a heat map, black or white, whichever can be read, if the cells have room.

    Args:
        axes: the axes of the heat map.
        image: what `axes.imshow` has returned.
        texts: the text of each cell.
        width: the width of the heat map in inches.
    """
    longest = max(len(text) for row in texts for text in row)
    if width / len(texts[0]) < longest * 0.62 * SMALL / 72:
        return
    colors = image.cmap(image.norm(image.get_array()))
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            axes.text(j, i, text, ha="center", va="center", size=SMALL, color=ink(colors[i][j]))


def ink(color: Sequence[float]) -> str:
    """The colour of text on a colour (red, green, blue in 0..1): black or white, whichever has the higher contrast.

    Source: the Web Content Accessibility Guidelines 2.2, definitions of relative luminance and contrast ratio.
    """
    channels = np.asarray(color[:3], float)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if float(linear @ (0.2126, 0.7152, 0.0722)) > 0.179 else "white"
