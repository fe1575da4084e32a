"""The saved state of a training, and the weights of its best epoch, in one file, from which the training is resumed.

Both are in one file, so that they always belong to the same history of epochs, even if a kill comes while they are
written.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fervit.checkpoints.checkpoint import Checkpoint
from fervit.errors import UserError
from fervit.io.files import JsonObject, whole_file
from fervit.io.torch_files import load_untrusted
from fervit.training.epoch import EpochResult
from fervit.training.trainer import Trainer

Weights = dict[str, Tensor]
"""The name of each weight -> its values, as `state_dict` returns them."""


class Unreported(NamedTuple):
    """An epoch that a process has trained and has not reported yet."""

    epoch: EpochResult
    best_value: float
    """The best value of the metric up to this epoch."""


def copy_weights(trainer: Trainer) -> Weights:
    """Copies the current weights of the model that is evaluated."""
    return {name: value.clone() for name, value in trainer.evaluated.state_dict().items()}


def save_state(
    path: Path, trainer: Trainer, best_weights: Weights, last: EpochResult, unreported: Iterable[Unreported] = ()
) -> None:
    """Writes the state of a trainer and its best weights.

    Args:
        path: the path of the file.
        trainer: the trainer.
        best_weights: the weights of its best epoch.
        last: the result of the last epoch.
        unreported: the epochs that the process has not reported, and may not report before it dies.
    """
    rows = [{"row": one.epoch.to_json(), "best_value": one.best_value} for one in unreported]
    state = {"trainer": trainer.state_dict(), "best_weights": best_weights, "last": last.to_json(), "unreported": rows}
    with whole_file(path) as aside:
        torch.save(state, aside)


def unreported_in(state: JsonObject) -> list[Unreported]:
    """Returns the epochs that a process had not reported when it saved; none in files of earlier versions."""
    rows = state.get("unreported") or []
    return [Unreported(EpochResult.from_json(one["row"]), float(one["best_value"])) for one in rows]


def load_state(path: Path) -> JsonObject:
    """Reads a file that `save_state` wrote.

    Returns:
        "trainer" for `Trainer.load_state_dict`, "best_weights", and "last": the fields of an EpochResult, or None in
        files of earlier versions; for "unreported", see `unreported_in`.

    Raises:
        UserError: the file is damaged or was not written by `save_state`.
    """
    try:
        state: JsonObject = load_untrusted(path)
        state["trainer"]["config"], state["best_weights"]
    except (UserError, KeyError, TypeError):
        raise UserError(
            f"{path}: is damaged, so the training cannot go on from its last epoch; remove the file to begin the "
            "training again, or start a new one"
        ) from None
    return state


def checkpoint_of(trainer: Trainer, weights: Weights) -> Checkpoint:
    """Makes a checkpoint of the trainer's best epoch with these weights."""
    assert trainer.best is not None
    row = trainer.best.to_json()
    return Checkpoint(
        model_state_dict={name: value.cpu() for name, value in weights.items()},
        config=trainer.config,
        epoch=row.pop("epoch"),
        metrics=row,
        encoder=trainer.train.latents.encoder,
        label_set=trainer.label_set,
        data={"train": trainer.train.origin, "val": trainer.val.origin},
    )
