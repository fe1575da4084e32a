"""What a training goes on from after a kill: its own state and the weights of its best epoch, in one file.

Both in one, so that after a kill between two files the best model and the state are made of one history again.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from fervit.checkpoints.checkpoint import Checkpoint
from fervit.errors import UserError
from fervit.files import JsonObject, whole_file
from fervit.torch_files import load_untrusted
from fervit.training.epoch import EpochResult
from fervit.training.trainer import Trainer

Weights = dict[str, Tensor]


def copy_weights(trainer: Trainer) -> Weights:
    """Of the model that is measured, as they are now."""
    return {name: value.clone() for name, value in trainer.evaluated.state_dict().items()}


def save_state(path: Path, trainer: Trainer, best_weights: Weights, last: EpochResult) -> None:
    """Writes the state and the best weights, with the last epoch for a reader who may not have heard of it."""
    with whole_file(path) as aside:
        torch.save({"trainer": trainer.state_dict(), "best_weights": best_weights, "last": last.to_json()}, aside)


def load_state(path: Path) -> JsonObject:
    """Reads what `save_state` wrote.

    Returns:
        "trainer" for `Trainer.load_state_dict`, "best_weights", and "last": the fields of an EpochResult, or None in
        files of earlier versions.

    Raises:
        UserError: the file is damaged or is no such file.
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
    """The weights of the trainer's best epoch with what is known of it."""
    assert trainer.best is not None
    row = trainer.best.to_json()
    return Checkpoint(
        model_state_dict={name: value.cpu() for name, value in weights.items()},
        config=trainer.config,
        epoch=row.pop("epoch"),
        metrics=row,
        encoder=trainer.train.latents.encoder,
        data={"train": trainer.train.fingerprint, "val": trainer.val.fingerprint},
    )
