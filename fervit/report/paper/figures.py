"""Collects the figures of a report for a paper, each with its caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fervit.evaluation.figures import class_metrics_figure, confidence_figure, mean_attention_figure
from fervit.evaluation.paired.layers import layers_figure
from fervit.evaluation.predictions import FILE as PREDICTIONS_FILE
from fervit.evaluation.predictions import Predictions
from fervit.evaluation.results import LayerDrops
from fervit.evaluation.statistics import calibrate
from fervit.plotting import Painter, confusion_figure
from fervit.report.html import Section
from fervit.report.model_sections import ATTENTION, CLASSES, CONFUSION, EARLIER_CONFUSION
from fervit.report.paper.page_figures import page_figure
from fervit.report.results import Results


@dataclass(frozen=True, kw_only=True)
class PaperFigure:
    """A figure for a paper."""

    name: str
    """The name of its files."""
    caption: str
    painter: Painter


def figures_of(results: Results, sections: Sequence[Section]) -> list[PaperFigure]:
    """Returns all figures of a report, and those of the evaluation's pictures that the report does not show.

    There is none with faces, whose licences may forbid to publish them.

    Args:
        results: the results.
        sections: the sections of the report.
    """
    own = _of_evaluation(results)
    found = [
        PaperFigure(
            name=plot.name,
            caption=" ".join(filter(None, (plot.alt, plot.note))),
            painter=own.get(plot.name, partial(page_figure, plot.figure, plot.height)),
        )
        for section in sections
        for plot in section.plots
    ]
    return [*found, *_confidence(results), *_layers(results)]


def _of_evaluation(results: Results) -> dict[str, Painter]:
    """The figures of the evaluation that the report draws in a way of its own, by their names."""
    found: dict[str, Painter] = {}
    if results.evaluation is not None:
        counts, report = np.array(results.evaluation["confusion_matrix"]), results.evaluation["classification_report"]
        found[CONFUSION] = partial(confusion_figure, counts, results.classes)
        found[CLASSES] = partial(class_metrics_figure, report, results.evaluation["intervals_95"], results.classes)
        found[ATTENTION] = partial(mean_attention_figure, results.evaluation["attention"]["rollout"])
    if results.earlier is not None and results.earlier.confusion is not None:
        earlier = results.earlier
        found[EARLIER_CONFUSION] = partial(confusion_figure, np.array(earlier.confusion), list(earlier.classes))
    return found


def _confidence(results: Results) -> list[PaperFigure]:
    """The confidence and the calibration; none without the predictions."""
    path = results.evaluation_dir / PREDICTIONS_FILE if results.evaluation_dir is not None else None
    if results.evaluation is None or path is None or not path.is_file():
        return []
    predictions = Predictions.read(path)
    calibration = calibrate(predictions.labels, predictions.probabilities)
    by_chance = results.evaluation.get("ece_if_calibrated")
    caption = (
        f"Confidence of right and wrong predictions on {predictions.split}, {len(predictions.labels)} faces, and the "
        f"share that is right in each of {len(calibration.counts)} bins of confidence, with the number of faces in "
        f"each. Expected calibration error {calibration.ece:.3f}"
    )
    if by_chance is not None:
        caption += f"; a calibrated model of these confidences: {by_chance['mean']:.3f}"
    painter = partial(confidence_figure, predictions, calibration)
    return [PaperFigure(name="prediction_confidence", caption=f"{caption}.", painter=painter)]


def _layers(results: Results) -> list[PaperFigure]:
    """What the model loses without layers of the codes; none if the evaluation does not say."""
    drops: LayerDrops | None = (results.evaluation or {}).get("layers")
    if drops is None or results.evaluation is None:
        return []
    caption = (
        f"What the model loses on {results.evaluation['split']}, {drops['n']} faces, when W+ layers are replaced by "
        "the mean of the training codes: the drop of macro-F1 with 95 % intervals for the choice of faces, and the "
        "drop of each class's F1."
    )
    return [PaperFigure(name="layers", caption=caption, painter=partial(layers_figure, drops, results.classes))]
