"""Exports a trained model as a folder that others can use: safetensors, config.json, a model card, optionally ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fervit.checkpoints.checkpoint import Checkpoint, save_checkpoint
from fervit.checkpoints.places import BEST_MODEL, MODEL_CONFIG, WEIGHTS
from fervit.errors import JobError, UserError
from fervit.io.files import JsonObject, first_line, whole_file, write_json
from fervit.version import __version__

ONNX_FILE, CARD_FILE = "model.onnx", "README.md"
ONNX_TOLERANCE = 1e-4
"""The largest difference of a logit that an ONNX file may show."""


def check_free(folder: Path, flag: str = "--output_dir") -> None:
    """Checks that a folder, which a flag names, is empty or does not exist, so that an export overwrites nothing.

    Raises:
        UserError: the folder is not empty, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{flag} {folder}: is a file; an export gets a folder of its own, give a new one")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{flag} {folder}: is not empty; an export gets a folder of its own, give a new one")


def export(checkpoint: Checkpoint, folder: Path, *, pickle: bool = True) -> None:
    """Writes best_model.pt, model.safetensors and config.json (labels, preprocessing, encoder, hyperparameters).

    Args:
        checkpoint: the model.
        folder: the folder to write into.
        pickle: whether to write best_model.pt, which earlier scripts read.
    """
    from safetensors.torch import save_file

    if pickle:
        save_checkpoint(checkpoint, folder / BEST_MODEL)
    with whole_file(folder / WEIGHTS) as aside:
        save_file({name: value.contiguous() for name, value in checkpoint.model_state_dict.items()}, aside)
    write_json(
        folder / MODEL_CONFIG,
        {
            "labels": list(checkpoint.label_set.classes),
            "preprocessing": preprocessing(checkpoint),
            "model": checkpoint.config.model(),
            "training": checkpoint.config.to_json(),
            "epoch": checkpoint.epoch,
            "metrics": checkpoint.metrics,
            "encoder": checkpoint.encoder.to_json() if checkpoint.encoder else {},
            "data": checkpoint.data,
            "weights_sha256": checkpoint.fingerprint,
            "fervit_version": __version__,
        },
    )


def preprocessing(checkpoint: Checkpoint) -> JsonObject:
    """Describes, for config.json, how a picture is prepared for the encoder."""
    return {
        "alignment": "FFHQ: eyes and mouth corners to fixed places (Karras et al., 2019)",
        "color": "RGB",
        "size": checkpoint.encoder.input_size if checkpoint.encoder else 256,
        "resample": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "codes": [checkpoint.config.seq_len, checkpoint.config.latent_dim],
    }


def export_onnx(checkpoint: Checkpoint, path: Path) -> float:
    """Writes the model as ONNX. It maps codes, float32 [n, seq_len, latent_dim], to logits [n, C], for any n.

    Returns:
        The largest difference of a logit between onnxruntime and the model on random codes.

    Raises:
        UserError: the packages for ONNX are not installed.
        JobError: onnxruntime cannot run the model or gives other logits; nothing is written.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"--onnx: needs {error.name}; install it with `pip install 'fervit[onnx]'`") from None
    model = checkpoint.model()
    shape = (checkpoint.config.seq_len, checkpoint.config.latent_dim)
    codes = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    with whole_file(path) as aside:
        torch.onnx.export(
            model,
            (codes[:2],),
            aside,
            input_names=["codes"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        try:
            session = onnxruntime.InferenceSession(aside, providers=["CPUExecutionProvider"])
            found = session.run(None, {"codes": codes.numpy()})[0]
        except Exception as error:  # onnxruntime has a dozen kinds
            raise JobError(f"{path}: onnxruntime cannot run the model ({first_line(error)}); nothing is kept") from None
        with torch.inference_mode():
            difference = float(np.abs(found - model(codes).numpy()).max())
        if not difference <= ONNX_TOLERANCE:
            raise JobError(f"{path}: onnxruntime's logits differ by {difference:.1e}, more than 1e-4; nothing is kept")
    return difference
