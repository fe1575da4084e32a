"""Simple models on the same codes, beside which a Vision Transformer has to show what it buys.

A linear probe (logistic regression) and a small perceptron with one hidden layer, by scikit-learn, on the same splits:
trained on the training codes, their one strength of regularisation chosen by macro-F1 on validation, measured once on
the same faces as the chosen model. Both see the 256 strongest principal components of the standardised codes, or half
as many as there are rows, a linear map, so that they train in less than a minute; the linear probe stays linear in the
codes.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from fervit.errors import UserError
from fervit.evaluation.intervals import intervals_of
from fervit.evaluation.paired.layers import some_rows
from fervit.evaluation.paired.resampling import differences
from fervit.evaluation.statistics import confusion
from fervit.io.files import write_json
from fervit.latents import LatentSet

FILE = "simple_models.json"
COMPONENTS = 256
PCA_ROWS = 5000
"""The most training rows that the principal components are computed from."""
ROWS = 30_000
"""The most training rows that a classifier sees, so that it takes no more than about a minute."""
HIDDEN = 128
KINDS: dict[str, tuple[str, Callable[[float, int], Any], tuple[float, ...]]] = {
    "linear probe": (
        "logistic regression, C",
        lambda c, n: LogisticRegression(C=c, max_iter=200, class_weight="balanced"),
        (1e-4, 1e-3, 1e-2),
    ),
    "small MLP": (
        f"a perceptron with {HIDDEN} hidden units, alpha",
        lambda alpha, n: MLPClassifier((HIDDEN,), alpha=alpha, max_iter=_passes(n), random_state=0),
        (1.0, 10.0),
    ),
}
"""What each is, its classifier for a strength of regularisation and a number of rows, and the strengths to try."""


class SimpleScores(TypedDict):
    """A simple model on the faces of an evaluation."""

    name: str
    what: str
    """The classifier, and the strength of regularisation that validation chose."""
    validation_f1_macro: float
    f1_macro: float
    accuracy: float
    intervals_95: dict[str, list[float]]
    """The 95 % intervals [low, high] of `f1_macro` and `accuracy`, for the choice of the faces."""
    ahead: float
    """The macro-F1 of the chosen model minus that of this one."""
    ahead_95: list[float]
    """The paired 95 % interval of that difference, for the choice of the faces."""
    seconds: float
    """The time that choosing and training took."""


@dataclass(frozen=True)
class SimpleModel:
    """A trained simple model."""

    name: str
    what: str
    validation_f1_macro: float
    predict: Callable[[np.ndarray], np.ndarray]
    """Returns the class of each of n codes [n, seq_len, latent_dim]."""
    seconds: float


def fit_simple_models(train: LatentSet, val: LatentSet) -> list[SimpleModel]:
    """Trains all simple models on the training split, and chooses their regularisation on validation.

    On one thread: so small steps wait longer for a second one than they save, and the sums do not depend on it.
    """
    with threadpool_limits(1):
        return _fit(train, val)


def _fit(train: LatentSet, val: LatentSet) -> list[SimpleModel]:
    started = time.monotonic()
    components = _components(train)
    rows = some_rows(train.labels, ROWS)
    of_train, of_val = _reduced(train.codes[rows], components), _reduced(val.codes, components)
    found = []
    for name, (what, make, strengths) in KINDS.items():
        best: tuple[float, float, Any] | None = None
        for strength in strengths:
            classifier = make(strength, len(rows))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is bounded on purpose
                classifier.fit(of_train, train.labels[rows])
            value = float(f1_score(val.labels, classifier.predict(of_val), average="macro", zero_division=0))
            if best is None or value > best[0]:
                best = value, strength, classifier
        assert best is not None
        value, strength, classifier = best
        seconds = time.monotonic() - started
        found.append(SimpleModel(name, f"{what} {strength:g}", value, _predicting(classifier, components), seconds))
        started = time.monotonic()
    return found


def compare_simple_models(
    models: Sequence[SimpleModel], latents: LatentSet, predicted: np.ndarray
) -> list[SimpleScores]:
    """Measures simple models on some rows, and compares them with a model.

    Args:
        models: from `fit_simple_models`.
        latents: the rows.
        predicted: the classes that the model predicts for them, integers [n].
    """
    n_classes = len(latents.label_set)
    said = [one.predict(latents.codes) for one in models]
    ahead = differences(latents.labels, predicted, said, n_classes)
    scores: list[SimpleScores] = []
    for i, one in enumerate(models):
        intervals = intervals_of(confusion(latents.labels, said[i], n_classes), latents.label_set.classes)
        scores.append(
            {
                "name": one.name,
                "what": one.what,
                "validation_f1_macro": one.validation_f1_macro,
                "f1_macro": float(f1_score(latents.labels, said[i], average="macro", zero_division=0)),
                "accuracy": float((latents.labels == said[i]).mean()),
                "intervals_95": {name: intervals[name] for name in ("f1_macro", "accuracy")},
                "ahead": float(ahead.macro[i]),
                "ahead_95": ahead.macro_95[i].tolist(),
                "seconds": round(one.seconds, 1),
            }
        )
    return scores


def write_simple_models(scores: Sequence[SimpleScores], folder: Path) -> None:
    """Writes the results into the folder of an evaluation."""
    write_json(folder / FILE, {"models": list(scores)})


def read_simple_models(folder: Path) -> list[SimpleScores]:
    """Reads the results from the folder of an evaluation; none if it has none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        found: list[SimpleScores] = json.loads(path.read_text(encoding="utf-8"))["models"]
        if any(one.keys() < SimpleScores.__required_keys__ for one in found):
            raise ValueError("a field is missing")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: is damaged; copy it again") from None
    return found


def ahead_text(scores: SimpleScores) -> str:
    """Writes the chosen model's lead over a simple one, such as "+0.031 (+0.010 to +0.052)"."""
    low, high = scores["ahead_95"]
    return f"{scores['ahead']:+.3f} ({low:+.3f} to {high:+.3f})"


def _passes(rows: int) -> int:
    """The passes of the perceptron over its rows, 200 a step: some 2,000 steps, and no more than 200 passes."""
    return int(min(200, max(15, 2000 * 200 / rows)))


def _components(train: LatentSet) -> Any:
    """Fits the standardisation and the principal components on at most `PCA_ROWS` training rows."""
    rows = some_rows(train.labels, PCA_ROWS)
    flat = train.codes[rows].reshape(len(rows), -1).astype(np.float32)
    n = max(1, min(COMPONENTS, len(flat) // 2, flat.shape[1]))  # as many as rows would tell each row from all others
    pipeline = make_pipeline(StandardScaler(), PCA(n, whiten=True, svd_solver="randomized", random_state=0))
    return pipeline.fit(flat)


def _reduced(codes: np.ndarray, components: Any) -> np.ndarray:
    """Returns the principal components of codes, float32 [n, components], in parts, so that it takes little memory."""
    parts = (codes[start : start + 2048] for start in range(0, len(codes), 2048))
    reduced = [components.transform(part.reshape(len(part), -1).astype(np.float32)) for part in parts]
    return np.concatenate(reduced).astype(np.float32)


def _predicting(classifier: Any, components: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda codes: np.asarray(classifier.predict(_reduced(codes, components)))
