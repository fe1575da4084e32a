"""Draws the pictures of an evaluation: class metrics, confidence, and attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fervit.evaluation.predictions import Predictions
from fervit.evaluation.results import CalibratedError
from fervit.evaluation.statistics import Calibration
from fervit.plotting import plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RIGHT, WRONG, ROLLOUT, COSINE = "#2a7fba", "#d1603d", "#2a7fba", "#8a8a8a"


def draw_class_metrics(
    report: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Sequence[float]],
    classes: Sequence[str],
    title: str,
    path: Path,
) -> None:
    """Draws bars of precision, recall and F1 for each class, and the interval of F1.

    Args:
        report: scikit-learn's classification report.
        intervals: the interval [low, high] of each `f1_<class>`.
        classes: the names of the classes.
        title: the title of the picture.
        path: the path of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(10, 1.4 * len(classes)), 4.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(classes))
    for i, (name, color) in enumerate((("precision", "#a6cbe3"), ("recall", "#5c9fcb"), ("f1-score", "#1f5f8b"))):
        values = np.array([report[emotion][name] for emotion in classes])
        axes.bar(places + (i - 1) * 0.27, values, 0.25, label="F1" if name == "f1-score" else name, color=color)
        if name == "f1-score":
            low, high = np.array([intervals[f"f1_{emotion}"] for emotion in classes]).T
            axes.vlines(places + 0.27, low, high, color="black", linewidth=1.5)
    ticks = [f"{emotion}\n{report[emotion]['support']:g} faces" for emotion in classes]
    axes.set_xticks(places, ticks)
    axes.set_ylim(0, 1)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper left", ncols=3, frameon=False)
    axes.set_title(f"{plain(title)}; the lines are 95 % intervals of F1", fontsize=11)
    save(figure, path)


def draw_confidence(
    predictions: Predictions, calibration: Calibration, by_chance: CalibratedError, title: str, path: Path
) -> None:
    """Draws histograms of the confidence of right and wrong predictions, and a reliability diagram.

    Args:
        predictions: the predictions.
        calibration: from `calibrate`.
        by_chance: from `ece_if_calibrated`.
        title: the title of the picture.
        path: the path of the PNG.
    """
    from matplotlib.figure import Figure

    confidence, right = predictions.probabilities.max(axis=1), predictions.predicted == predictions.labels
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, middle = figure.subplots(1, 2)
    bins = np.linspace(0, 1, 26)
    for rows, name, color in ((right, "right", RIGHT), (~right, "wrong", WRONG)):
        mean = f", mean {confidence[rows].mean():.2f}" if rows.any() else ""
        left.hist(confidence[rows], bins, alpha=0.65, color=color, label=f"{name}: {rows.sum()} faces{mean}")
    left.set_xlabel("confidence (probability of the predicted class)")
    left.set_ylabel("faces")
    left.set_xlim(0, 1)
    left.margins(y=0.25)  # room for the legend
    left.legend(frameon=False)
    edges = np.linspace(0, 1, len(calibration.counts) + 1)
    some = calibration.counts > 0
    middle.bar(edges[:-1][some], calibration.accuracy[some], np.diff(edges)[0], align="edge", color=RIGHT, alpha=0.75)
    middle.plot(calibration.confidence[some], calibration.accuracy[some], "o", color="black", markersize=4)
    middle.plot([0, 1], [0, 1], "--", color="black", linewidth=1)
    middle.set_xlim(0, 1)
    middle.set_ylim(0, 1)
    middle.set_xlabel("mean confidence")
    middle.set_ylabel("share that is right")
    expected = f"if calibrated: {by_chance['mean']:.3f}, 95 % below {by_chance['quantile_95']:.3f}"
    middle.set_title(f"reliability, ECE {calibration.ece:.3f} ({expected})", fontsize=11)
    figure.suptitle(plain(title))
    save(figure, path)


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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15 if face is not None else 12, 8.6), layout="constrained")
    columns = 3 if face is not None else 2
    grid = figure.add_gridspec(3, columns, height_ratios=(1, 1, 3), width_ratios=(1.6, 2, 2)[-columns:])
    column = columns - 2
    if face is not None:
        picture = figure.add_subplot(grid[:, 0])
        picture.imshow(face)
        picture.axis("off")
    _bars(figure.add_subplot(grid[0, column:]), rollout, "share by attention rollout", ROLLOUT)
    _bars(figure.add_subplot(grid[1, column:]), cosine, "cosine similarity", COSINE)
    names = ["CLS", *map(str, range(1, len(rollout) + 1))]
    heat = figure.add_subplot(grid[2, column])
    _heat_map(heat, between, names, "attention between tokens, mean of layers and heads", low=0.0)
    heat.set_xlabel("attended token (W+ layer)")
    heat.set_ylabel("token")
    heat = figure.add_subplot(grid[2, column + 1])
    _heat_map(heat, similarity, names[1:], "cosine similarity between the W+ layers' tokens", low=None)
    figure.suptitle(plain(f"{title}\n{remark}" if remark else title))
    save(figure, path)


def _heat_map(axes: Axes, values: np.ndarray, names: Sequence[str], title: str, *, low: float | None) -> None:
    """Draws values between tokens [n, n] with a scale."""
    image = axes.imshow(values, cmap="viridis", aspect="auto", vmin=low)
    axes.set_xticks(range(len(names)), names, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_title(title, fontsize=10)
    axes.figure.colorbar(image, ax=axes, shrink=0.8)


def draw_mean_attention(rollouts: Mapping[str, Sequence[float]], title: str, path: Path) -> None:
    """Draws the mean attention rollout of each class.

    Args:
        rollouts: the mean rollout [seq_len] of each emotion.
        title: the title of the picture.
        path: the path of the PNG.
    """
    from matplotlib.figure import Figure

    values = np.array(list(rollouts.values()))
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="viridis", aspect="auto", vmin=0)
    axes.set_xticks(range(values.shape[1]), [str(i + 1) for i in range(values.shape[1])])
    axes.set_yticks(range(len(rollouts)), list(rollouts))
    axes.set_xlabel("W+ layer (coarse to fine)")
    axes.set_title(plain(title), fontsize=11)
    bright = values > 0.6 * values.max()
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", color="k" if bright[i, j] else "w")
    figure.colorbar(image, ax=axes, label="share")
    save(figure, path)


def _bars(axes: Axes, values: np.ndarray, name: str, color: str) -> None:
    """Draws a bar for each W+ layer."""
    axes.bar(range(1, len(values) + 1), values, color=color)
    axes.set_xticks(range(1, len(values) + 1))
    axes.tick_params(labelsize=8)
    axes.set_ylabel(name.partition(" by ")[0], fontsize=9)
    axes.set_title(f"{name} of each W+ layer", fontsize=10)
    if values.min() < 0:
        axes.axhline(0, color="black", linewidth=0.8)
