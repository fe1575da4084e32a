"""Reads and writes trained models: `best_model.pt`, and the folder `best/` that a sweep exports."""

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

from fervit.checkpoints.foreign import NO_LATENT_VIT, bare_names, understood
from fervit.checkpoints.places import MODEL_CONFIG, checkpoint_in
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.errors import UserError
from fervit.io.files import first_line, recognise_download, whole_file
from fervit.io.torch_files import StateDict, load_untrusted
from fervit.labels.label_set import SEVEN, LabelSet, label_set_of
from fervit.model import LatentViT
from fervit.parsing import build
from fervit.training.config import MODEL_FIELDS, TrainConfig
from fervit.version import __version__

CONTENT: dict[str, tuple[type, ...]] = {
    "model_state_dict": (dict,),
    "config": (dict,),
    "epoch": (int, float),
    "metrics": (dict,),
    "encoder": (dict,),
    "data": (dict,),
}
"""The keys of a checkpoint file and the types that their values may have."""
OPTIONAL = ("metrics", "encoder", "data")
"""The keys that checkpoints of earlier LatentViT scripts may lack."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained model, with all that is needed to use it and to trace where it comes from."""

    model_state_dict: dict[str, Tensor]
    """The weights of LatentViT by name."""
    config: TrainConfig
    """The hyperparameters of the model and of its training."""
    epoch: int
    """The number of the epoch, from 1, at whose end the model had these weights."""
    metrics: dict[str, float]
    """The metrics of that epoch on the validation split."""
    encoder: EncoderFingerprint | None
    """The fingerprint of the encoder whose codes it was trained on; None if the file does not name it."""
    data: dict[str, str]
    """The fingerprints (`LatentSet.fingerprint`) of the splits "train" and "val"."""
    label_set: LabelSet = SEVEN
    """The classes, in the order of the logits."""

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the weights and their names. It does not depend on the format of the file."""
        return fingerprint_of_weights(self.model_state_dict)

    def model(self) -> LatentViT:
        """Builds the model with these weights, in eval mode."""
        model = LatentViT(**self.config.model(), num_classes=len(self.label_set))
        model.load_state_dict(self.model_state_dict)
        return model.eval()


def fingerprint_of_weights(weights: dict[str, Tensor]) -> str:
    """Computes the SHA-256 of weights and their names."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {list(value.shape)} {value.dtype}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a checkpoint file, whole or not at all.

    It holds only tensors, numbers, text and dicts, so that it loads with `weights_only=True`.
    """
    content = {
        "model_state_dict": checkpoint.model_state_dict,
        "config": {"model": checkpoint.config.model(), "training": checkpoint.config.to_json()},
        "epoch": checkpoint.epoch,
        "metrics": checkpoint.metrics,
        "labels": list(checkpoint.label_set.classes),
        "encoder": checkpoint.encoder.to_json() if checkpoint.encoder else {},
        "data": checkpoint.data,
        "fervit_version": __version__,
    }
    with whole_file(path) as aside:
        torch.save(content, aside)


def load_checkpoint(path: Path, *, heads: int | None = None) -> Checkpoint:
    """Reads a checkpoint that `save_checkpoint`, `export` or an earlier LatentViT script wrote.

    A file of an earlier script does not name its data and encoder: `encoder` is then None and `data` is empty. The file
    is untrusted: nothing in it is executed.

    Args:
        path: a best_model.pt or model.safetensors, or the folder of an export, a run or a sweep.
        heads: the number of attention heads of a checkpoint of another script that does not name it.

    Raises:
        UserError: there is no such file, or it is not a checkpoint of LatentViT.
    """
    path = checkpoint_in(path)
    content = _exported(path) if path.suffix == ".safetensors" else load_untrusted(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: is no checkpoint of LatentViT (it holds no dict)")
    if path.suffix != ".safetensors" and "fervit_version" not in content:
        content = understood(content, path, heads)
    for key, kind in CONTENT.items():
        value = content.get(key)
        if not (value is None and key in OPTIONAL) and not isinstance(value, kind):
            raise UserError(f"{path}: is no checkpoint of LatentViT ('{key}' is missing or of another type)")
    weights = bare_names(content["model_state_dict"])
    label_set = _label_set(content, weights, path)
    _check(content, weights, path)
    checkpoint = Checkpoint(
        model_state_dict=weights,
        config=_config(content, weights, path),
        epoch=int(content["epoch"]),
        metrics={str(k): float(v) for k, v in (content.get("metrics") or {}).items() if _is_finite(v)},
        encoder=_encoder(content.get("encoder"), path),
        data={str(k): str(v) for k, v in (content.get("data") or {}).items() if isinstance(v, str)},
        label_set=label_set,
    )
    try:
        checkpoint.model()
    except Exception as error:  # whatever is wrong, these are not the weights of this model
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: its weights do not fit its own configuration ({reason})") from None
    return checkpoint


def _check(content: StateDict, weights: StateDict, path: Path) -> None:
    """Refuses values that have the right type but are not valid."""
    if not _is_finite(content["epoch"]):
        raise UserError(f"{path}: is no checkpoint of LatentViT (its epoch is {content['epoch']})")
    for name, value in weights.items():
        if isinstance(value, Tensor) and not torch.isfinite(value).all():
            raise UserError(f"{path}: its weights {name} are not finite numbers; the training diverged, take another")


def _label_set(content: StateDict, weights: StateDict, path: Path) -> LabelSet:
    """The classes that a file names, of which its weights must have as many; the seven emotions if it names none."""
    labels = content.get("labels")
    try:
        found = SEVEN if labels is None else label_set_of(labels)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: its labels are {labels}, which name no classes ({error})") from None
    last = weights.get("mlp_head.1.weight")
    if isinstance(last, Tensor) and len(last) != len(found):
        raise UserError(f"{path}: is a model of {len(last)} classes, but its labels are {found}; take another file")
    return found


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


def _exported(path: Path) -> StateDict:
    """Reads model.safetensors and the config.json beside it into the form that `save_checkpoint` writes."""
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


def _config(content: StateDict, weights: StateDict, path: Path) -> TrainConfig:
    """The hyperparameters. Sizes of an earlier script's model are read off its weights, since names may differ."""
    given, where = content["config"], f"{path}: config"
    if "fervit_version" in content:
        return build(TrainConfig, given.get("training"), where)
    model = given.get("model")
    if not isinstance(model, dict) or "heads" not in model:
        raise UserError(f"{where}: lacks model.heads, which the weights do not tell; give it as --heads N")
    known = {name: model[name] for name in MODEL_FIELDS if name in model}
    return build(TrainConfig, {**known, **_sizes(weights, path)}, f"{where}.model")


def _sizes(weights: StateDict, path: Path) -> dict[str, int]:
    """The sizes of LatentViT that the shapes of its weights tell."""
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
        raise UserError(f"{path}: {NO_LATENT_VIT}") from None
