"""The header of a model card in the form that the Hugging Face Hub reads, with metrics as `model-index`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from fervit.checkpoints.checkpoint import Checkpoint

TASK = "image-classification"
NAMES = {"accuracy": ("accuracy", "accuracy"), "f1_macro": ("f1", "macro-F1")}
"""The metrics of the header -> the type that the Hub knows, and the name that is shown."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The metrics of a model on a split."""

    split: str
    data: str
    """What the faces are, with what makes the metrics optimistic."""
    sha256: str
    """The fingerprint of the split; "" if it is not known."""
    metrics: Mapping[str, float]


def with_hub_header(card: str, checkpoint: Checkpoint, name: str, measured: Sequence[Measured]) -> str:
    """Returns a card whose header has the metrics as the Hub's `model-index`, in place of the header that it has.

    Args:
        card: the card.
        checkpoint: the model.
        name: the name of the model.
        measured: the metrics on each split; none leaves `model-index` out.
    """
    header: dict[str, object] = {
        "library_name": "fervit",
        "pipeline_tag": TASK,
        "tags": ["facial-expression-recognition", "stylegan", "w-plus"],
        "metrics": [kind for kind, _ in NAMES.values()],
    }
    results = [_result(one) for one in measured if set(NAMES) & set(one.metrics)]
    if results:
        header["model-index"] = [{"name": name, "results": results}]
    body = card
    if card.startswith("---\n"):
        body = card[card.index("\n---\n", 3) + len("\n---\n") :]
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n{body}"


def _result(measured: Measured) -> dict[str, object]:
    dataset: dict[str, object] = {"type": "w-plus-codes", "name": measured.data, "split": measured.split}
    if measured.sha256:
        dataset["args"] = {"sha256": measured.sha256}
    return {
        "task": {"type": TASK, "name": "Facial expression recognition"},
        "dataset": dataset,
        "metrics": [
            {"type": kind, "name": name, "value": round(float(measured.metrics[key]), 6)}
            for key, (kind, name) in NAMES.items()
            if key in measured.metrics
        ],
    }
