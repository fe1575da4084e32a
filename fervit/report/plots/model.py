"""Figures of one model: the confusion matrix, the metrics of each class, the attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from fervit.report.plots.plot import Plot


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str], split: str) -> Plot:
    """Draws the confusion matrix [C][C], rows true, as shares of each true class, with the counts."""
    counts = np.array(matrix)
    true = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, true, out=np.zeros(counts.shape), where=true > 0)
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=list(classes),
            y=list(classes),
            colorscale="Blues",
            zmin=0,
            zmax=1,
            customdata=counts,
            text=[[f"{s:.2f}<br>{c}" for s, c in zip(*row, strict=True)] for row in zip(shares, counts, strict=True)],
            texttemplate="%{text}",
            hovertemplate="true %{y}, predicted %{x}: %{customdata} faces, %{z:.1%}<extra></extra>",
            colorbar={"title": "share"},
        )
    )
    figure.update_xaxes(title="predicted", side="bottom")
    figure.update_yaxes(title="true", autorange="reversed")
    right = ", ".join(f"{name} {shares[i, i]:.2f}" for i, name in enumerate(classes))
    return Plot(figure=figure, alt=f"Confusion matrix on {split}; share recognised of each class: {right}.", height=520)


def class_metrics(
    report: Mapping[str, Mapping[str, float]], intervals: Mapping[str, Sequence[float]], classes: Sequence[str]
) -> Plot:
    """Draws precision, recall and F1 of each class, and the 95 % interval of F1.

    Args:
        report: scikit-learn's classification report.
        intervals: the interval [low, high] of each `f1_<class>`.
        classes: the names of the classes.
    """
    figure = go.Figure()
    for name, color in (("precision", "#a6cbe3"), ("recall", "#5c9fcb"), ("f1-score", "#1f5f8b")):
        values = [report[emotion][name] for emotion in classes]
        errors = None
        if name == "f1-score":
            low, high = zip(*(intervals[f"f1_{emotion}"] for emotion in classes), strict=True)
            errors = {
                "type": "data",
                "color": "#888888",
                "symmetric": False,
                "array": [max(0.0, b - v) for b, v in zip(high, values, strict=True)],
                "arrayminus": [max(0.0, v - b) for b, v in zip(low, values, strict=True)],
            }
        figure.add_bar(x=list(classes), y=values, name=name, marker={"color": color}, error_y=errors)
    figure.update_layout(barmode="group")
    figure.update_yaxes(range=[0, 1])
    listed = ", ".join(f"{emotion} {report[emotion]['f1-score']:.2f}" for emotion in classes)
    return Plot(figure=figure, alt=f"Precision, recall and F1 of each class; F1: {listed}.")


def attention(rollouts: Mapping[str, Sequence[float]]) -> Plot:
    """Draws the mean attention rollout [seq_len] of each class."""
    shares = np.array(list(rollouts.values()))
    layers = [str(i) for i in range(shares.shape[1])]
    heat = go.Heatmap(
        z=shares,
        x=layers,
        y=list(rollouts),
        colorscale="Viridis",
        zmin=0,
        zmax=float(shares.max()),
        hovertemplate="%{y}, W+ layer %{x}: %{z:.3f}<extra></extra>",
        colorbar={"title": "share"},
    )
    figure = go.Figure(heat)
    figure.update_xaxes(title="W+ layer (coarse to fine)", type="category")
    figure.update_yaxes(autorange="reversed")
    top = np.argsort(-shares.mean(axis=0))[:3]
    alt = f"Attention of each class to the W+ layers; layers {', '.join(map(str, top))} matter most on average."
    return Plot(figure=figure, alt=alt, height=380)
