"""What a model loses when layers of the codes are replaced by their training mean, and for which class.

Attention says where a model looks; this says what it needs. A style that is replaced by the mean of the training codes
no longer tells faces apart; the drop of macro-F1 is what only it gave. Layers that say the same drop nothing one by
one, so the coarse, middle and fine ones are replaced together as well (Karras et al., "A style-based generator
architecture", CVPR 2019: 4 to 8, 16 to 32, and 64 to 1,024 pixels).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fervit.evaluation.paired.resampling import differences
from fervit.evaluation.results import Drop, LayerDrops, LayersDrop
from fervit.io.files import whole_file
from fervit.latents import LatentSet
from fervit.plotting import PAGE, plain
from fervit.plotting import draw as draw_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE_FILE = "layers.csv"
PICTURE_FILE = "layers.png"
BOUNDS = {"coarse": (0, 4), "middle": (4, 8), "fine": (8, None)}
"""The first layer of each group, and the first behind it."""
WORK = 1e13
"""The most multiplications and additions that all passes may take, some two minutes of two CPU cores; a model so large
that they would take more is measured on a part of the faces."""
A_CLASS = 20
"""The fewest faces of a class, as far as there are so many."""


def groups_of(seq_len: int) -> dict[str, list[int]]:
    """Returns the layers that are replaced together, by name: the groups, then each single layer."""
    found = {name: list(range(seq_len))[slice(*bounds)] for name, bounds in BOUNDS.items()}
    groups = {name: layers for name, layers in found.items() if layers}
    return groups | {str(layer): [layer] for layer in range(seq_len)}


def mean_of(codes: np.ndarray) -> np.ndarray:
    """Computes the mean of codes, float32 [seq_len, latent_dim], in parts, so that it takes little memory."""
    total = np.zeros(codes.shape[1:], np.float64)
    for start in range(0, len(codes), 2048):
        total += codes[start : start + 2048].astype(np.float32).sum(axis=0, dtype=np.float64)
    return (total / len(codes)).astype(np.float32)


def layer_drops(
    predict: Callable[[np.ndarray], np.ndarray], latents: LatentSet, mean: np.ndarray, n_weights: int
) -> LayerDrops:
    """Measures what a model loses without layers of the codes.

    Args:
        predict: returns the probabilities [n, C] for codes [n, seq_len, latent_dim].
        latents: the rows.
        mean: the mean of the training codes, float [seq_len, latent_dim].
        n_weights: the number of weights of the model, by which the number of rows is bounded (`WORK`).
    """
    groups, classes = groups_of(latents.codes.shape[1]), latents.label_set.classes
    rows = some_rows(latents.labels, int(WORK / (2 * n_weights * (latents.codes.shape[1] + 1) * (1 + len(groups)))))
    codes, labels = latents.codes[rows], latents.labels[rows]
    whole, without = predict(codes).argmax(axis=1), []
    for layers in groups.values():
        replaced = codes.copy()
        replaced[:, layers] = mean[layers]
        without.append(predict(replaced).argmax(axis=1))
    found = differences(labels, whole, without, len(classes))
    present = np.unique(np.concatenate([labels, whole]))
    return {
        "n": len(rows),
        "f1_macro": _f1_macro(labels, whole),
        "without": {
            name: {
                "layers": layers,
                **_drop(found.macro[i], found.macro_95[i]),
                "classes": {classes[c]: _drop(found.classes[i, c], found.classes_95[i, c]) for c in present},
            }
            for i, (name, layers) in enumerate(groups.items())
        },
    }


def some_rows(labels: np.ndarray, most: int) -> np.ndarray:
    """Returns at most about `most` rows, evenly spread over each class, of which at least `A_CLASS` are kept."""
    if len(labels) <= most:
        return np.arange(len(labels))
    kept = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        n = min(len(rows), max(A_CLASS, round(len(rows) * most / len(labels))))
        kept.append(rows[np.linspace(0, len(rows) - 1, n).round().astype(int)])
    return np.sort(np.concatenate(kept))


def write_table(drops: LayerDrops, classes: Sequence[str], path: Path) -> None:
    """Writes a CSV: a row for each group and layer, its drops with their limits, of all classes and of each."""
    names = [name for name in classes if name in next(iter(drops["without"].values()))["classes"]]
    with whole_file(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["layers", *(f"{name}{part}" for name in ("f1_macro", *names) for part in ("", "_low", "_high"))]
        )
        for name, one in drops["without"].items():
            cells = [one, *(one["classes"][emotion] for emotion in names)]
            writer.writerow(
                [name, *(f"{value:.6f}" for cell in cells for value in (cell["drop"], *cell["interval_95"]))]
            )


def draw(drops: LayerDrops, classes: Sequence[str], title: str, path: Path) -> None:
    """Writes the figure of `layers_figure` with a title as a PNG."""
    draw_figure(partial(layers_figure, drops, classes), path, title=title)


def layers_figure(drops: LayerDrops, classes: Sequence[str], width: float = PAGE) -> Figure:
    """Draws the drop of macro-F1 without each group and layer, with its interval, and below it that of each class.

    Args:
        drops: what `layer_drops` has measured.
        classes: the names of the classes.
        width: the width of the figure in inches.
    """
    from matplotlib.figure import Figure

    without = drops["without"]
    names = [name for name in classes if name in next(iter(without.values()))["classes"]]
    values = np.array([one["drop"] for one in without.values()])
    low, high = np.array([one["interval_95"] for one in without.values()]).T
    of_class = np.array([[one["classes"][emotion]["drop"] for one in without.values()] for emotion in names])
    figure = Figure(figsize=(width, 2.6 + 0.22 * len(names)), layout="constrained")
    bars, cells = figure.subplots(2, 1, height_ratios=(1, 1.1))
    colors = ["#1f5f8b" if len(one["layers"]) > 1 else "#5c9fcb" for one in without.values()]
    bars.bar(range(len(values)), values, color=colors)
    bars.vlines(range(len(values)), low, high, color="black", linewidth=1)
    bars.axhline(0, color="black", linewidth=0.6)
    bars.set_ylabel("drop of macro-F1")
    largest = max(float(np.abs(of_class).max()), 1e-3)
    image = cells.imshow(of_class, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
    cells.set_yticks(range(len(names)), [plain(name) for name in names])
    cells.set_xlabel("replaced by the mean: groups, then single layers")
    figure.colorbar(image, ax=cells, label="drop of F1")
    every = 1 if width >= PAGE else 2  # single layers have numbers, of which a column has room for each second one
    groups = sum(len(one["layers"]) > 1 for one in without.values())
    places = [i for i in range(len(values)) if i < groups or (i - groups) % every == 0]
    for axes in (bars, cells):
        axes.set_xticks(places, [list(without)[i] for i in places])
        axes.set_xlim(-0.6, len(values) - 0.4)
        axes.tick_params("x", rotation=90)
    bars.tick_params(labelbottom=False)
    return figure


def strongest(drops: LayerDrops) -> dict[str, str]:
    """Returns for each class that one of the groups carries which carries most, with the drop of its F1 and the
    interval."""
    groups: Mapping[str, LayersDrop] = {name: one for name, one in drops["without"].items() if name in BOUNDS}
    found = {}
    for emotion in next(iter(groups.values()))["classes"]:
        if all(one["classes"][emotion]["drop"] <= 0 for one in groups.values()):
            continue  # such as a class that the model never finds
        name = max(groups, key=lambda group: groups[group]["classes"][emotion]["drop"])
        found[emotion] = f"{name} {drop_text(groups[name]['classes'][emotion])}"
    return found


def drop_text(drop: Drop) -> str:
    """Writes a drop with its interval, such as "0.112 (0.071 to 0.153)"."""
    low, high = drop["interval_95"]
    return f"{drop['drop']:.3f} ({low:.3f} to {high:.3f})"


def _drop(value: float, interval: np.ndarray) -> Drop:
    return {"drop": round(float(value), 6), "interval_95": [round(float(limit), 6) for limit in interval]}


def _f1_macro(labels: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predicted, average="macro", zero_division=0))
