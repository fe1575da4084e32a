"""Understands checkpoints of other training scripts: how they name weights, hyperparameters, metrics and classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fervit.errors import UserError
from fervit.io.torch_files import StateDict
from fervit.labels.label_set import SEVEN, LabelSet, canonical
from fervit.system.program import called

WRAPPERS = ("module", "_orig_mod")
"""What DistributedDataParallel and torch.compile put into the names of weights, in any order."""
OF_A_LARGER_MODULE = ("model.", "net.", "network.", "vit.")
WEIGHTS_NAMES = ("model_state_dict", "state_dict", "model", "weights")
CONFIG_NAMES = ("config", "args", "hyper_parameters", "hparams", "cfg", "opt")
HEADS_NAMES = ("heads", "num_heads", "n_heads", "nhead")
METRICS = {
    "f1_macro": ("f1_macro", "val_f1", "val_f1_macro", "best_f1", "best_val_f1", "macro_f1"),
    "accuracy": ("accuracy", "val_acc", "val_accuracy", "best_acc", "best_val_acc"),
}
LISTS, TO_INDEX, TO_NAME = (
    ("labels", "class_names", "classes"),
    ("class_to_idx", "label2id"),
    ("idx_to_class", "id2label"),
)
"""The keys of the names of the classes: a list, numbers by name, and names by number."""
OURS = ("cls_token", "pos_emb", "input_proj", "transformer", "mlp_head", "code_mean", "code_std")
"""The beginnings of the names of LatentViT's weights."""
NO_LATENT_VIT = (
    "its weights do not fit LatentViT (cls_token, pos_emb, input_proj, transformer.layers, mlp_head), so it is another "
    "network"
)


def bare_names(weights: Mapping[Any, Any]) -> dict[str, Any]:
    """The weights without what wrappers have put into their names."""
    found = {}
    for name, value in weights.items():
        bare = ".".join(part for part in str(name).split(".") if part not in WRAPPERS)
        for prefix in OF_A_LARGER_MODULE:
            if bare.startswith(prefix) and bare.removeprefix(prefix).startswith(OURS):
                bare = bare.removeprefix(prefix)
        found[bare] = value
    return found


def understood(content: StateDict, path: Path, heads: int | None = None) -> StateDict:
    """Returns the content of a checkpoint in the form of the guide's scripts.

    Args:
        content: the content of the file, which `fervit` has not written.
        path: the file, for messages.
        heads: the number of attention heads, where the file does not name it.

    Raises:
        UserError: the file has weights, but of another network, another number of classes, or other classes.
    """
    weights = next((content[name] for name in WEIGHTS_NAMES if isinstance(content.get(name), dict)), None)
    if weights is None and content and all(isinstance(value, Tensor) for value in content.values()):
        weights, content = content, {}  # a bare state_dict
    if weights is None:
        return content
    weights = bare_names(weights)
    _check_network(weights, path)
    configs = [_plain(content[name]) for name in CONFIG_NAMES if name in content]
    configs += [config["model"] for config in configs if isinstance(config.get("model"), dict)]
    empty: dict[str, Any] = {}
    model = next((config for config in reversed(configs) if any(name in config for name in HEADS_NAMES)), empty)
    number = heads or next((model[name] for name in HEADS_NAMES if name in model), None)
    config = {"model": {**model, **({} if number is None else {"heads": number})}}
    names = _class_names([content, *configs], path)
    weights, label_set = _in_order(weights, names, path)
    epoch = content.get("epoch", 0)
    return {
        "model_state_dict": weights,
        "labels": list(label_set.classes),
        "config": config,
        "epoch": epoch if isinstance(epoch, int | float) else 0,
        "metrics": _metrics(content),
    }


def _plain(value: Any) -> dict[str, Any]:
    """A dict, or the attributes of a Namespace."""
    found = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return {str(key): inner for key, inner in found.items()}


def _metrics(content: StateDict) -> dict[str, Any]:
    given = content.get("metrics")
    metrics = dict(given) if isinstance(given, dict) else {}
    for name, others in METRICS.items():
        found = [content[other] for other in others if isinstance(content.get(other), int | float)]
        if name not in metrics and found and math.isfinite(found[0]):
            metrics[name] = found[0] / (100 if found[0] > 1 else 1)  # some scripts save percents
    return metrics


def _check_network(weights: Mapping[str, Any], path: Path) -> None:
    """Raises UserError if the weights are those of another network, or have parts that LatentViT does not have."""
    if not {"cls_token", "pos_emb", "input_proj.weight"} <= set(weights):
        raise UserError(f"{path}: {NO_LATENT_VIT} ({', '.join(_parts(weights))}); fervit reads LatentViT only")
    foreign = _parts({name: value for name, value in weights.items() if not name.startswith(OURS)})
    if foreign:
        raise UserError(
            f"{path}: is a LatentViT with parts of its own ({', '.join(foreign)}), which fervit does not have; train "
            f"it again with {called('train')}, or use the script that made it"
        )


def _parts(weights: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name in weights))[:6]


def _class_names(places: list[dict[str, Any]], path: Path) -> list[str] | None:
    """The names of the classes in the order of the logits; None if the file does not say it."""
    for place in places:
        for key in LISTS:
            if isinstance(place.get(key), list | tuple) and all(isinstance(name, str) for name in place[key]):
                return list(place[key])
        for key in TO_INDEX:
            if isinstance(place.get(key), dict):
                return [str(name) for name, _ in sorted(place[key].items(), key=lambda item: int(item[1]))]
        for key in TO_NAME:
            if isinstance(place.get(key), dict):
                try:
                    return [str(name) for _, name in sorted(place[key].items(), key=lambda item: int(item[0]))]
                except (TypeError, ValueError):
                    raise UserError(f"{path}: its {key} has no numbers of classes; mend it in the file") from None
    return None


def _in_order(weights: dict[str, Any], names: list[str] | None, path: Path) -> tuple[dict[str, Any], LabelSet]:
    """The weights and the classes. If these are the seven emotions, the last layer is put into fervit's order.

    Raises:
        UserError: the names are not those of the classes, or there are none for a model of other classes than seven.
    """
    last = [name.rpartition(".")[0] for name, value in weights.items() if _is_last(name, value)]
    if not last:
        return weights, SEVEN
    weight, bias = f"{last[-1]}.weight", f"{last[-1]}.bias"
    classes = len(weights[weight])
    if names is None:
        if classes != len(SEVEN):
            raise UserError(
                f"{path}: is a model of {classes} classes, and does not say which; fervit reads a model of other "
                "classes than the seven emotions if the file names them in the order of its logits, under 'class_names'"
            )
        return weights, SEVEN
    try:
        found = LabelSet(tuple(map(canonical, names)))
        if len(found) != classes:
            raise ValueError(f"the model has {classes} classes")
    except ValueError as error:
        raise UserError(f"{path}: its labels are {names}, which cannot be its classes ({error})") from None
    if sorted(found.classes) != sorted(SEVEN.classes):
        return weights, found
    order = [found.index(emotion) for emotion in SEVEN.classes]
    return {**weights, **{name: weights[name][order] for name in (weight, bias) if name in weights}}, SEVEN


def _is_last(name: str, value: Any) -> bool:
    return name.startswith("mlp_head.") and name.endswith(".weight") and isinstance(value, Tensor) and value.dim() == 2
