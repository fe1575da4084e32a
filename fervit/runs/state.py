"""What a training goes on from after a kill: its own state and the weights of its best epoch, in one file.

Both in one, so that after a kill between two files the best model and the state are made of one history again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fervit.checkpoints.checkpoint import Checkpoint
from fervit.files import whole_file
from fervit.torch_files import load_untrusted
from fervit.training.epoch import EpochResult
from fervit.training.trainer import Trainer

Weights = dict[str, Tensor]


def copy_weights(trainer: Trainer) -> Weights:
    """Of the model that is measured, as they are now."""
    return {name: value.clone() for name, value in trainer.evaluated.state_dict().items()}


def save_state(path: Path, trainer: Trainer, best_weights: Weights, last: EpochResult | None = None) -> None:
    """Writes all of it, with what the last epoch gave for a reader who may not have been told of it."""
    row = last.to_json() if last else None
    with whole_file(path) as aside:
        torch.save({"trainer": trainer.state_dict(), "best_weights": best_weights, "last": row}, aside)


def load_state(path: Path) -> dict[str, Any]:
    """{"trainer": for `Trainer.load_state_dict`, "best_weights": ..., "last": fields of EpochResult or None}.

    Raises:
        UserError: the file is damaged or not one of these.
        KeyError: as above.
        TypeError: as above.
    """
    state: dict[str, Any] = load_untrusted(path)
    state["trainer"]["config"], state["best_weights"]
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
