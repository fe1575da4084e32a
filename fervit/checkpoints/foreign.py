"""Understands checkpoints of other training scripts: how they name weights, hyperparameters, metrics and classes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fervit.errors import UserError
from fervit.io.torch_files import StateDict
from fervit.labels.class_names import KEYS, as_plain, names_in_order
from fervit.labels.emotions import emotion_of
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
LIKE_NAMES = re.compile(r"class|label|emotion|expression|categor")
"""What a key has in it, in lower case, under which these names may stand, too."""
OURS = ("cls_token", "pos_emb", "input_proj", "transformer", "mlp_head", "code_mean", "code_std")
"""The beginnings of the names of LatentViT's weights."""
NO_LATENT_VIT = (
    "its weights do not fit LatentViT (cls_token, pos_emb, input_proj, transformer.layers, mlp_head), so it is another "
    "network"
)


def bare_names(weights: Mapping[Any, Any]) -> StateDict:
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
    empty: StateDict = {}
    model = next((config for config in reversed(configs) if any(name in config for name in HEADS_NAMES)), empty)
    number = heads or next((model[name] for name in HEADS_NAMES if name in model), None)
    config = {"model": {**model, **({} if number is None else {"heads": number})}}
    weights, label_set = _in_order(weights, content, path)
    epoch = content.get("epoch", 0)
    return {
        "model_state_dict": weights,
        "labels": list(label_set.classes),
        "config": config,
        "epoch": epoch if isinstance(epoch, int | float) else 0,
        "metrics": _metrics(content),
    }


def _plain(value: Any) -> StateDict:
    """A dict, or the attributes of a Namespace."""
    found = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return {str(key): inner for key, inner in found.items()}


def _metrics(content: StateDict) -> StateDict:
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


def _places(content: StateDict) -> list[tuple[str, StateDict]]:
    """The mappings in which the classes may be named, with the paths to them: the file, and two levels below it."""
    level, found = [("", {key: value for key, value in content.items() if key not in WEIGHTS_NAMES})], []
    for _ in range(3):
        found += level
        below = [(f"{where}{key}.", _plain(value)) for where, place in level for key, value in place.items()]
        level = [(where, place) for where, place in below if place]
    return found


def _class_names(content: StateDict, classes: int, path: Path) -> list[str] | None:
    """The names of the classes in the order of the logits; None if the file does not say it.

    Raises:
        UserError: it names them in a way that is not understood, or in two orders.
    """
    found: dict[tuple[str, ...], str] = {}
    others: list[list[str]] = []
    for where, place in _places(content):
        for key, value in place.items():
            known = KEYS.fullmatch(key.lower()) is not None
            if not known and not LIKE_NAMES.search(key.lower()):
                continue
            names = names_in_order(value)
            if names is None:
                _refuse_unread(f"{where}{key}", value, classes, path, known=known)
            elif len(names) == classes and (known or all(emotion_of(name) for name in names)):
                found.setdefault(tuple(map(canonical, names)), f"{where}{key}")
            elif known:
                others.append(names)
    if len(found) > 1:
        raise UserError(
            f"{path}: names its classes in two orders, under {' and '.join(found.values())}; which one is that of its "
            "logits only its script can tell: delete the other from the file"
        )
    return list(next(iter(found), None) or next(iter(others), [])) or None


def _refuse_unread(key: str, value: Any, classes: int, path: Path, *, known: bool) -> None:
    """Raises UserError if a value seems to name the classes, though in a way that is not understood."""
    plain = as_plain(value)
    if not isinstance(plain, list | dict) or not plain:
        return
    entries = list(plain.values()) if isinstance(plain, dict) else plain
    words = [one for one in [*plain, *entries] if isinstance(one, str) and not one.isdecimal()]
    whole = len(entries) == classes
    numbers = whole and all(type(one) is int for one in entries) and entries != sorted(entries)
    named = [one for one in entries if isinstance(one, str) and emotion_of(one) is not None]
    emotions = sum(emotion_of(word) is not None for word in words)
    if (whole and len(named) > 1) or (known and ((whole and words) or numbers or emotions > 1)):
        raise UserError(
            f"{path}: its {key} seems to name the classes, but not in a way that fervit understands (a list in the "
            "order of the logits, or a mapping of names and numbers from 0 on); mend it in the file"
        )


def _in_order(weights: StateDict, content: StateDict, path: Path) -> tuple[StateDict, LabelSet]:
    """The weights and the classes. If these are the seven emotions, the last layer is put into fervit's order.

    Raises:
        UserError: the names are not those of the classes, or there are none for a model of other classes than seven.
    """
    last = [name.rpartition(".")[0] for name, value in weights.items() if _is_last(name, value)]
    if not last:
        return weights, SEVEN
    weight, bias = f"{last[-1]}.weight", f"{last[-1]}.bias"
    classes = len(weights[weight])
    names = _class_names(content, classes, path)
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
