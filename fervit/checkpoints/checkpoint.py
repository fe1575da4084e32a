"""Trained models on disk: `best_model.pt`, and the folder `best/` that a sweep exports."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fervit.emotions import EMOTIONS
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.errors import UserError
from fervit.files import first_line, recognise_download, whole_file
from fervit.model import LatentViT
from fervit.parsing import build
from fervit.torch_files import load_untrusted
from fervit.training.config import MODEL_FIELDS, TrainConfig
from fervit.version import __version__

BEST_MODEL, WEIGHTS, MODEL_CONFIG = "best_model.pt", "model.safetensors", "config.json"
CONTENT: dict[str, Any] = {
    "model_state_dict": dict,
    "config": dict,
    "epoch": int | float,
    "metrics": dict,
    "encoder": dict,
    "data": dict,
}
OPTIONAL: dict[str, Any] = {"metrics": {}, "encoder": {}, "data": {}}
"""What checkpoints of earlier runs lack."""
OF_DDP = "module."
"""What DistributedDataParallel puts before the weights' names."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained model with what it takes to use it and to say where it comes from."""

    model_state_dict: dict[str, Tensor]
    config: TrainConfig
    epoch: int
    """The epoch, from 1, after which the model stood like this."""
    metrics: dict[str, float]
    """Of that epoch, on the validation split."""
    encoder: EncoderFingerprint | None
    """The fingerprint of the encoder whose codes it was trained on; None if the file does not name it."""
    data: dict[str, str]
    """Fingerprints of the splits: train, val."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights and their names: equal for equal weights, in whatever file they stand."""
        return fingerprint_of_weights(self.model_state_dict)

    def model(self) -> LatentViT:
        """The model in eval mode."""
        model = LatentViT(**self.config.model())
        model.load_state_dict(self.model_state_dict)
        return model.eval()


def fingerprint_of_weights(weights: dict[str, Tensor]) -> str:
    """SHA-256 of weights and their names."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {list(value.shape)} {value.dtype}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes `path`, whole or not at all. Only tensors, numbers, text and dicts: loads with `weights_only=True`."""
    content = {
        "model_state_dict": checkpoint.model_state_dict,
        "config": {"model": checkpoint.config.model(), "training": checkpoint.config.to_json()},
        "epoch": checkpoint.epoch,
        "metrics": checkpoint.metrics,
        "labels": list(EMOTIONS),
        "encoder": checkpoint.encoder.to_json() if checkpoint.encoder else {},
        "data": checkpoint.data,
        "fervit_version": __version__,
    }
    with whole_file(path) as aside:
        torch.save(content, aside)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads what `save_checkpoint` or `export` wrote, or a checkpoint of an earlier LatentViT run, in either format of
    torch.save.

    An earlier run's file says nothing of its data and encoder; `encoder` and `data` are then empty. The file is
    untrusted: nothing in it is executed.

    Args:
        path: a best_model.pt or model.safetensors, or the folder of an export, a run or a sweep.

    Raises:
        UserError: no such file, or not a checkpoint of LatentViT.
    """
    path = checkpoint_in(path)
    content = _exported(path) if path.suffix == ".safetensors" else load_untrusted(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: is no checkpoint of LatentViT (it holds no dict)")
    for key, kind in CONTENT.items():
        value = content.get(key)
        if not isinstance(OPTIONAL.get(key) if value is None else value, kind):
            raise UserError(f"{path}: is no checkpoint of LatentViT ('{key}' is missing or of another type)")
    weights = {str(name).removeprefix(OF_DDP): value for name, value in content["model_state_dict"].items()}
    _check(content, weights, path)
    checkpoint = Checkpoint(
        model_state_dict=weights,
        config=_config(content, weights, path),
        epoch=int(content["epoch"]),
        metrics={str(k): float(v) for k, v in (content.get("metrics") or {}).items() if _is_finite(v)},
        encoder=_encoder(content.get("encoder"), path),
        data={str(k): str(v) for k, v in (content.get("data") or {}).items() if isinstance(v, str)},
    )
    try:
        checkpoint.model()
    except Exception as error:  # whatever the weights are, they are not this model's
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: its weights do not fit its own configuration ({reason})") from None
    return checkpoint


def _check(content: dict[str, Any], weights: dict[str, Any], path: Path) -> None:
    """Refuses what the types alone do not tell."""
    if not _is_finite(content["epoch"]):
        raise UserError(f"{path}: is no checkpoint of LatentViT (its epoch is {content['epoch']})")
    labels = content.get("labels")
    if labels is not None and (not isinstance(labels, list | tuple) or list(labels) != list(EMOTIONS)):
        raise UserError(
            f"{path}: its labels are {labels}, but fervit's models name {', '.join(EMOTIONS)}, in this order"
        )
    for name, value in weights.items():
        if isinstance(value, Tensor) and not torch.isfinite(value).all():
            raise UserError(f"{path}: its weights {name} are not finite numbers; the training diverged, take another")


def _encoder(content: Mapping[str, object] | None, path: Path) -> EncoderFingerprint | None:
    """The fingerprint in a checkpoint; None if the file does not name the encoder."""
    if not content:
        return None
    try:
        return EncoderFingerprint.from_json(content)
    except (KeyError, TypeError):
        raise UserError(f"{path}: is no checkpoint of LatentViT ('encoder' is no fingerprint of an encoder)") from None


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def checkpoint_in(path: Path) -> Path:
    """The file of weights that a path means: itself, or the best one of a folder.

    Raises:
        UserError: there is none.
    """
    if path.is_dir():
        for name in (WEIGHTS, BEST_MODEL, f"checkpoints/{BEST_MODEL}", f"best/{WEIGHTS}", f"best/{BEST_MODEL}"):
            if (path / name).is_file():
                return path / name
        raise UserError(f"{path}: holds no model (no {WEIGHTS}, {BEST_MODEL}, checkpoints/{BEST_MODEL} or best/)")
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint; a run keeps its best as checkpoints/{BEST_MODEL}")
    return path


def _exported(path: Path) -> dict[str, Any]:
    """model.safetensors with the config.json beside it, as `save_checkpoint` would have written them."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    wrong = recognise_download(path)
    if wrong:
        raise UserError(f"{path}: {wrong}")
    beside = path.parent / MODEL_CONFIG
    try:
        config = json.loads(beside.read_text(encoding="utf-8"))
        weights = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: lacks the {MODEL_CONFIG} beside it; copy the whole folder of the export") from None
    except ValueError:
        raise UserError(f"{beside}: is damaged (no JSON); copy the whole folder of the export again") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is cut off or no safetensors file ({first_line(error)}); copy it again") from None
    if not isinstance(config, dict):
        raise UserError(f"{beside}: is no {MODEL_CONFIG} of an export; copy the whole folder again")
    if "weights_sha256" in config and config["weights_sha256"] != fingerprint_of_weights(weights):
        raise UserError(f"{path}: is not the model that {MODEL_CONFIG} beside it describes; export it again")
    return {**config, "model_state_dict": weights, "config": {"training": config.get("training")}}


def _config(content: dict[str, Any], weights: dict[str, Any], path: Path) -> TrainConfig:
    """The hyperparameters. An earlier run's sizes are read off its weights, as its script may name them otherwise."""
    given, where = content["config"], f"{path}: config"
    if "fervit_version" in content:
        return build(TrainConfig, given.get("training"), where)
    model = given.get("model")
    if not isinstance(model, dict) or "heads" not in model:
        raise UserError(f"{where}: lacks model.heads, which the weights do not tell; add it to the file's config")
    known = {name: model[name] for name in MODEL_FIELDS if name in model}
    return build(TrainConfig, {**known, **_sizes(weights, path)}, f"{where}.model")


def _sizes(weights: dict[str, Any], path: Path) -> dict[str, int]:
    layers = {match[1] for name in weights if (match := re.match(r"transformer\.layers\.(\d+)\.", name))}
    try:
        embed_dim, latent_dim = weights["input_proj.weight"].shape
        return {
            "latent_dim": latent_dim,
            "embed_dim": embed_dim,
            "seq_len": weights["pos_emb"].shape[1] - 1,
            "depth": len(layers),
            "mlp_dim": weights["transformer.layers.0.linear1.weight"].shape[0],
        }
    except (KeyError, AttributeError, IndexError, ValueError):
        raise UserError(
            f"{path}: its weights do not fit LatentViT (cls_token, pos_emb, input_proj, transformer.layers, mlp_head)"
        ) from None
