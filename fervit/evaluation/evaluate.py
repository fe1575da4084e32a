"""The evaluation of one checkpoint on one split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fervit.errors import UserError
from fervit.evaluation.metrics import confusion, describe
from fervit.figures import draw_confusion_matrix
from fervit.files import write_json
from fervit.latents import LatentSet
from fervit.latents.schema import same_encoder
from fervit.training.checkpoint import Checkpoint

RESULTS_FILE = "evaluation_results.json"
CONFUSION_FILE = "confusion_matrix.png"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    split: str
    """"test", or "val" where there is no test split: then the number is not of unseen data."""
    metrics: dict[str, Any]
    output_dir: Path


def predict(checkpoint: Checkpoint, latents: LatentSet, batch_size: int = 32) -> np.ndarray:
    """Probabilities, float32 [n, 7], in the order of the rows."""
    _check_fit(checkpoint, latents)
    model = checkpoint.model()
    with torch.inference_mode():
        parts = [
            model(torch.from_numpy(latents.codes[start : start + batch_size].astype(np.float32))).softmax(dim=1)
            for start in range(0, len(latents), batch_size)
        ]
    return torch.cat(parts).numpy()


def evaluate(
    checkpoint: Checkpoint, latents: LatentSet, output_dir: Path, *, split: str = "test", batch_size: int = 32
) -> Evaluation:
    """Writes evaluation_results.json and confusion_matrix.png into `output_dir`.

    Args:
        checkpoint: the model.
        latents: the rows to evaluate on.
        output_dir: made if it is not there.
        split: the name of the rows in results and pictures.
        batch_size: rows in a forward pass.

    Raises:
        UserError: the rows are of another shape or another encoder than the model's.
    """
    predicted = predict(checkpoint, latents, batch_size).argmax(axis=1)
    metrics = describe(latents.labels, predicted)
    results = {
        "split": split,
        **metrics,
        "checkpoint": {"epoch": checkpoint.epoch, "validation": checkpoint.metrics, "data": checkpoint.data},
        "latents": {"path": latents.path, "fingerprint": latents.fingerprint},
        "encoder": latents.encoder,
    }
    title = f"{split}: accuracy {metrics['accuracy']:.3f}, macro-F1 {metrics['f1_macro']:.3f}, {len(latents)} faces"
    if latents.encoder.get("untrained"):
        title += " (untrained demo encoder)"
    draw_confusion_matrix(confusion(latents.labels, predicted), title, output_dir / CONFUSION_FILE)
    write_json(output_dir / RESULTS_FILE, results)
    return Evaluation(split=split, metrics=metrics, output_dir=output_dir)


def _check_fit(checkpoint: Checkpoint, latents: LatentSet) -> None:
    expected = (checkpoint.config.seq_len, checkpoint.config.latent_dim)
    if latents.codes.shape[1:] != expected:
        raise UserError(
            f"{latents.path}: holds codes of {latents.codes.shape[1]} x {latents.codes.shape[2]}, but the model takes "
            f"{expected[0]} x {expected[1]}; encode with the encoder that the model was trained on"
        )
    if checkpoint.encoder and not same_encoder(latents.encoder, checkpoint.encoder):
        raise UserError(
            f"{latents.path}: its codes come from encoder {_name(latents.encoder)}, the model was trained on codes of "
            f"{_name(checkpoint.encoder)}; encode with that one"
        )


def _name(encoder: dict[str, Any]) -> str:
    return f"{encoder.get('encoder')} ({str(encoder.get('checkpoint_sha256'))[:12] or 'no checkpoint'})"
