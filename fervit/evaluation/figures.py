"""Draws the figures of an evaluation: class metrics, confidence, and attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fervit.evaluation.predictions import Predictions
from fervit.evaluation.results import CalibratedError
from fervit.evaluation.statistics import Calibration
from fervit.plotting import PAGE, draw, lean, plain, write_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT, WRONG, ROLLOUT, COSINE = "#2a7fba", "#d1603d", "#2a7fba", "#8a8a8a"


def draw_class_metrics(
    report: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Sequence[float]],
    classes: Sequence[str],
    title: str,
    path: Path,
) -> None:
    """Writes the figure of `class_metrics_figure` with a title as a PNG."""
    painter = partial(class_metrics_figure, report, intervals, classes)
    draw(painter, path, width=max(PAGE, 0.9 * len(classes)), title=f"{title}; the lines are 95 % intervals of F1")


def class_metrics_figure(
    report: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Sequence[float]],
    classes: Sequence[str],
    width: float = PAGE,
) -> Figure:
    """Draws bars of precision, recall and F1 for each class, and the interval of F1.

    Args:
        report: scikit-learn's classification report.
        intervals: the interval [low, high] of each `f1_<class>`.
        classes: the names of the classes.
        width: the width of the figure in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.0 if width >= PAGE else 2.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(classes))
    for i, (name, color) in enumerate((("precision", "#a6cbe3"), ("recall", "#5c9fcb"), ("f1-score", "#1f5f8b"))):
        values = np.array([report[emotion][name] for emotion in classes])
        axes.bar(places + (i - 1) * 0.27, values, 0.25, label="F1" if name == "f1-score" else name, color=color)
        if name == "f1-score":
            low, high = np.array([intervals[f"f1_{emotion}"] for emotion in classes]).T
            axes.vlines(places + 0.27, low, high, color="black", linewidth=1)
    wide = width / len(classes) >= 0.8
    between = "\n" if wide else ", "
    ticks = [f"{plain(emotion)}{between}{report[emotion]['support']:g}" for emotion in classes]
    axes.set_xticks(places, ticks)
    if not wide:
        lean(axes)
    axes.set_xlabel("class, and its number of faces")
    axes.set_ylim(0, 1)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower left", ncols=3)
    return figure


def draw_confidence(
    predictions: Predictions, calibration: Calibration, by_chance: CalibratedError, title: str, path: Path
) -> None:
    """Writes the figure of `confidence_figure` as a PNG. Its title has the calibration error.

    Args:
        predictions: the predictions.
        calibration: from `calibrate`.
        by_chance: from `ece_if_calibrated`.
        title: the title of the picture.
        path: the path of the PNG.
    """
    expected = f"if calibrated: {by_chance['mean']:.3f}, 95 % below {by_chance['quantile_95']:.3f}"
    title = f"{title}; ECE {calibration.ece:.3f} ({expected})"
    draw(partial(confidence_figure, predictions, calibration), path, title=title)


def confidence_figure(predictions: Predictions, calibration: Calibration, width: float = PAGE) -> Figure:
    """Draws the confidence of right and wrong predictions, a reliability diagram, and how many faces its bins hold.

    Args:
        predictions: the predictions.
        calibration: from `calibrate`.
        width: the width of the figure in inches.
    """
    from matplotlib.figure import Figure

    confidence, right = predictions.probabilities.max(axis=1), predictions.predicted == predictions.labels
    beside = width >= PAGE
    figure = Figure(figsize=(width, 3.4 if beside else 6.0), layout="constrained")
    if beside:
        grid = figure.add_gridspec(2, 2, height_ratios=(3, 1))
        places = (grid[:, 0], grid[0, 1], grid[1, 1])
    else:
        grid = figure.add_gridspec(3, 1, height_ratios=(3, 3, 1))
        places = (grid[0, 0], grid[1, 0], grid[2, 0])
    left, middle = figure.add_subplot(places[0]), figure.add_subplot(places[1])
    bins = [i / 25 for i in range(26)]
    for rows, name, color in ((right, "right", RIGHT), (~right, "wrong", WRONG)):
        mean = f", mean {confidence[rows].mean():.2f}" if rows.any() else ""
        left.hist(confidence[rows], bins, alpha=0.65, color=color, label=f"{name}: {rows.sum()} faces{mean}")
    left.set_xlabel("confidence (probability of the predicted class)")
    left.set_ylabel("faces")
    left.set_xlim(0, 1)
    left.margins(y=0.25)  # room for the legend
    left.legend()
    _reliability(middle, figure.add_subplot(places[2], sharex=middle), calibration)
    return figure


def _reliability(axes: Axes, below: Axes, calibration: Calibration) -> None:
    """Draws the share that is right in each bin of confidence, and below it the number of faces in the bin."""
    edges = np.linspace(0, 1, len(calibration.counts) + 1)
    some = calibration.counts > 0
    axes.bar(edges[:-1][some], calibration.accuracy[some], np.diff(edges)[0], align="edge", color=RIGHT, alpha=0.75)
    axes.plot(calibration.confidence[some], calibration.accuracy[some], "o", color="black")
    axes.plot([0, 1], [0, 1], "--", color="black")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share that is right")
    axes.tick_params(labelbottom=False)
    below.bar(edges[:-1], calibration.counts, np.diff(edges)[0], align="edge", color=COSINE)
    below.set_xlabel("mean confidence")
    below.set_ylabel("faces")


def draw_attention(
    rollout: np.ndarray,
    cosine: np.ndarray,
    between: np.ndarray,
    similarity: np.ndarray,
    title: str,
    path: Path,
    face: np.ndarray | None = None,
    remark: str = "",
) -> None:
    """Draws the attention of the model for one face: to each style, and between tokens.

    Args:
        rollout: the share of each style [seq_len], a row of `AttentionMaps.rollout`.
        cosine: the similarity of each style [seq_len], a row of `AttentionMaps.cosine`.
        between: the attention between tokens [1 + seq_len, 1 + seq_len].
        similarity: the cosine similarity between the styles' tokens [seq_len, seq_len].
        title: the title of the picture: truth, prediction, confidence.
        path: the path of the PNG.
        face: the picture of the face, uint8 [h, w, 3]; None if it cannot be found.
        remark: a line below the title, such as that the attention is flat.
    """
    painter = partial(_attention_figure, rollout, cosine, between, similarity, face)
    draw(painter, path, width=10 if face is not None else 8, title=f"{title}\n{remark}" if remark else title)


def _attention_figure(
    rollout: np.ndarray,
    cosine: np.ndarray,
    between: np.ndarray,
    similarity: np.ndarray,
    face: np.ndarray | None,
    width: float,
) -> Figure:
    """The figure of `draw_attention`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 6), layout="constrained")
    columns = 3 if face is not None else 2
    grid = figure.add_gridspec(3, columns, height_ratios=(1, 1, 3), width_ratios=(1.6, 2, 2)[-columns:])
    column = columns - 2
    if face is not None:
        picture = figure.add_subplot(grid[:, 0])
        picture.imshow(face)
        picture.axis("off")
    _bars(figure.add_subplot(grid[0, column:]), rollout, "share by attention rollout", ROLLOUT)
    _bars(figure.add_subplot(grid[1, column:]), cosine, "cosine similarity", COSINE)
    names = ["CLS", *map(str, range(len(rollout)))]
    heat = figure.add_subplot(grid[2, column])
    _heat_map(heat, between, names, "attention between tokens, mean of layers and heads", low=0.0)
    heat.set_xlabel("attended token (W+ layer)")
    heat.set_ylabel("token")
    heat = figure.add_subplot(grid[2, column + 1])
    _heat_map(heat, similarity, names[1:], "cosine similarity between the W+ layers' tokens", low=None)
    return figure


def _heat_map(axes: Axes, values: np.ndarray, names: Sequence[str], title: str, *, low: float | None) -> None:
    """Draws values between tokens [n, n] with a scale."""
    image = axes.imshow(values, cmap="viridis", aspect="auto", vmin=low)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_title(title)
    axes.figure.colorbar(image, ax=axes, shrink=0.8)


def draw_mean_attention(rollouts: Mapping[str, Sequence[float]], title: str, path: Path) -> None:
    """Writes the figure of `mean_attention_figure` with a title as a PNG."""
    draw(partial(mean_attention_figure, rollouts), path, title=title)


def mean_attention_figure(rollouts: Mapping[str, Sequence[float]], width: float = PAGE) -> Figure:
    """Draws the mean attention rollout of each class, in percent.

    Args:
        rollouts: the mean rollout [seq_len] of each emotion.
        width: the width of the figure in inches.
    """
    from matplotlib.figure import Figure

    values = np.array(list(rollouts.values()))
    classes, layers = values.shape
    figure = Figure(figsize=(width, 1.1 + 0.24 * classes), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="viridis", aspect="auto", vmin=0)
    step = 1 if width >= PAGE else 2
    axes.set_xticks(range(0, layers, step), [str(i) for i in range(0, layers, step)])
    axes.set_yticks(range(classes), [plain(name) for name in rollouts])
    axes.set_xlabel("W+ layer (coarse to fine)")
    write_cells(axes, image, [[f"{100 * value:.0f}" for value in row] for row in values], width - 1.6)
    figure.colorbar(image, ax=axes, label="share")
    return figure


def _bars(axes: Axes, values: np.ndarray, name: str, color: str) -> None:
    """Draws a bar for each W+ layer."""
    axes.bar(range(len(values)), values, color=color)
    axes.set_xticks(range(len(values)))
    axes.set_ylabel("share" if name.startswith("share") else "similarity")
    axes.set_title(f"{name} of each W+ layer")
    if values.min() < 0:
        axes.axhline(0, color="black", linewidth=0.8)
