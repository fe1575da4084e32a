"""Logs a training to TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fervit.plotting import DOTS, confusion_figure, painted
from fervit.training.config import TrainConfig
from fervit.training.metrics import f1_of_classes

if TYPE_CHECKING:  # its import may fail, which must not keep a training from its work
    from torch.utils.tensorboard import SummaryWriter

TAGS = {
    "Loss/Train": "train_loss",
    "Loss/Validation": "val_loss",
    "Train/accuracy": "train_accuracy",
    "Validation/accuracy": "accuracy",
    "Validation/f1_macro": "f1_macro",
    "Validation/f1_weighted": "f1_weighted",
    "Validation/balanced_accuracy": "balanced_accuracy",
    "Learning_Rate": "lr",
    "Speed/images_per_second": "samples_per_second",
}
BEST = "hparam/best_{}"
"""The tag of the best value of the metric by which epochs are compared."""


def log_epoch(writer: SummaryWriter, row: Mapping[str, Any]) -> None:
    """Writes the scalars of an epoch. `row` has the fields of `EpochResult`."""
    for tag, name in TAGS.items():
        writer.add_scalar(tag, row[name], row["epoch"])


def log_classes(writer: SummaryWriter, confusion: np.ndarray, classes: Sequence[str], epoch: int) -> None:
    """Writes the F1 score of each class, and the confusion matrix as a picture.

    Args:
        writer: the writer of the run.
        confusion: the confusion matrix, integers [C, C]; rows are true classes, columns are predicted classes.
        classes: the names of the classes.
        epoch: the epoch, from 1.
    """
    for name, f1 in zip(classes, f1_of_classes(confusion), strict=True):
        writer.add_scalar(f"F1/{name}", f1, epoch)
    figure = painted(partial(confusion_figure, confusion, classes), title=f"validation, epoch {epoch}")
    figure.set_dpi(DOTS)
    writer.add_figure("Confusion_Matrix", figure, epoch)


def open_writer(folder: Path, config: TrainConfig, epochs_done: int, metric: str = "f1_macro") -> SummaryWriter:
    """Opens a writer, and writes the hyperparameters.

    Args:
        folder: the folder of the logs.
        config: the hyperparameters.
        epochs_done: the last epoch from which the training continues. Later epochs of an earlier process are hidden.
        metric: the metric by which epochs are compared.
    """
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    writer = SummaryWriter(str(folder), purge_step=epochs_done + 1)
    experiment, start, _ = hparams(config.to_json(), {BEST.format(metric): 0.0})
    for summary in (experiment, start):
        _add(writer, summary)
    return writer


def log_best(writer: SummaryWriter, config: TrainConfig, value: float, epoch: int, metric: str = "f1_macro") -> None:
    """Writes the best value of the metric, and its epoch, for TensorBoard's table of hyperparameters."""
    from torch.utils.tensorboard.summary import hparams

    tag = BEST.format(metric)
    writer.add_scalar(tag, value, epoch)
    _, _, end = hparams(config.to_json(), {tag: value})
    _add(writer, end)


def _add(writer: SummaryWriter, summary: Any) -> None:
    writer._get_file_writer().add_summary(summary)  # `add_hparams` would open a run of its own
