"""Ranks rows by how doubtful their labels are: by cleanlab, and by a ranking of fervit's own beside it.

Paper: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 2021), which
cleanlab implements.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fervit.auditing.codes import Codes
from fervit.auditing.copies import exact_copies, near_copies
from fervit.auditing.cross_validation import FOLDS, probabilities
from fervit.auditing.findings import Finding, name_of_class
from fervit.auditing.patches import features
from fervit.auditing.pictures import Pictures, Rows

SHARE = 0.05
"""The share of the rows that is listed as doubtful."""
FEWEST = 20
"""The fewest rows of each of two classes on which labels can be judged."""
CODE_FEATURES = 1024
"""Codes are projected onto so many random directions."""
Ranking = Literal["class_noise", "log_ratio", "self_confidence", "normalized_margin", "confidence_weighted_entropy"]
"""Two are fervit's: `log_ratio` is the logarithm of the likeliest other class's probability over that of the label, to
which `class_noise` adds how noisy the label's class is. The others are cleanlab's."""
CHOSEN: Ranking = "class_noise"
"""The ranking that did best on FER2013's training rows; see benchmarks/README.md."""


NOISE_WEIGHT = 3.0
"""How much the log odds that labels of a class are wrong weigh beside the log ratio; chosen on FER2013's training rows.
"""


@dataclass(frozen=True, kw_only=True)
class Doubts:
    """How doubtful the labels of some rows are."""

    rows: np.ndarray
    """The numbers of the rows that were judged, int64 [m]: those with a known class."""
    probabilities: np.ndarray
    """The cross-validated probabilities of the classes, float32 [m, k]."""
    scores: Mapping[Ranking, np.ndarray]
    """The doubt by each ranking, float [m]; larger is more doubtful."""
    accuracy: float
    """The share of the rows whose label is the likeliest class."""
    issues: int
    """cleanlab's estimate of the number of wrong labels."""


def doubts(rows: Rows, *, seed: int = 0) -> Doubts | None:
    """Judges the labels of a data set; None if it has too few rows, or all are alike.

    Args:
        rows: pictures, which are judged by their thumbnails, or codes.
        seed: of the classifier.
    """
    known = _judged(rows)
    labels, n_classes = rows.labels[known], len(rows.classes)
    if (np.bincount(labels, minlength=n_classes) >= FEWEST).sum() < 2:
        return None
    classes, compact = np.unique(labels, return_inverse=True)  # cleanlab wants every class to occur
    groups, described = _groups(rows)[known], _features(rows, known, seed)
    if len(np.unique(groups)) < FOLDS or _alike(described):
        return None
    found = probabilities(described, compact, groups, len(classes), seed=seed)
    whole = np.zeros((len(known), n_classes), np.float32)
    whole[:, classes] = found
    return Doubts(
        rows=known,
        probabilities=whole,
        scores=rankings(found, compact),
        accuracy=float((found.argmax(axis=1) == compact).mean()),
        issues=_issues(found, compact),
    )


def rankings(found: np.ndarray, labels: np.ndarray) -> dict[Ranking, np.ndarray]:
    """Ranks rows by how doubtful their labels are.

    Args:
        found: cross-validated probabilities, float [n, k].
        labels: the labels, int64 [n]. Each of the k classes occurs.

    Returns:
        The doubt by each ranking, float [n]; larger is more doubtful.
    """
    from cleanlab.rank import get_label_quality_scores

    rows = np.arange(len(labels))
    own, others = found[rows, labels], found.copy()
    others[rows, labels] = 0
    tiny = 1e-9
    ratio = np.log(others.max(axis=1) + tiny) - np.log(own + tiny)
    noise = NOISE_WEIGHT * _log_odds_of_noise(found, labels)[labels]
    scores: dict[Ranking, np.ndarray] = {"class_noise": ratio + noise, "log_ratio": ratio}
    methods: tuple[Ranking, ...] = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    for method in methods:
        scores[method] = -np.asarray(get_label_quality_scores(labels, found, method=method))
    return scores


def of_doubts(rows: Rows, found: Doubts) -> Finding:
    """The finding of doubtful labels, the most doubtful first."""
    score = found.scores[CHOSEN]
    n = round(SHARE * len(found.rows))
    order = np.argsort(-score, kind="stable")[:n]
    labels = rows.labels[found.rows]
    rest = found.probabilities.copy()
    rest[np.arange(len(labels)), labels] = -1
    others = rest.argmax(axis=1)
    reasons, captions = {}, {}
    for i in order:
        row, other = int(found.rows[i]), rows.classes[others[i]]
        given, own = name_of_class(rows, row), found.probabilities[i, labels[i]]
        reasons[row] = f"labelled {given} ({own:.3f}), looks like {other} ({found.probabilities[i, others[i]]:.3f})"
        captions[row] = f"{given}, or {other}?"
    return Finding(
        key="label_noise",
        title="Doubtful labels",
        text=f"The {SHARE:.0%} of the rows whose labels a simple classifier doubts most, the most doubtful first. It "
        f"has not seen the row that it judges, and agrees with {found.accuracy:.0%} of all labels. cleanlab estimates "
        f"that {found.issues:,} labels are wrong. Look before leaving them out: rare ways to show an emotion are "
        "doubted, too. labels.csv has all rows with both rankings.",
        reasons=reasons,
        shown=list(reasons),
        captions=captions,
        facts={"judged": len(found.rows), "agreement": round(found.accuracy, 4), "estimated_issues": found.issues},
    )


def table_of(rows: Rows, found: Doubts) -> str:
    """Returns all judged rows as CSV, the most doubtful first, with their likeliest class and their doubts."""
    order = np.argsort(-found.scores[CHOSEN], kind="stable")
    likeliest = found.probabilities.argmax(axis=1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", "split", "label", "likeliest", *found.scores])
    for i in order:
        row = int(found.rows[i])
        values = [f"{score[i]:.5f}" for score in found.scores.values()]
        writer.writerow(
            [rows.image_ids[row], rows.splits[row], name_of_class(rows, row), rows.classes[likeliest[i]], *values]
        )
    return text.getvalue()


def _judged(rows: Rows) -> np.ndarray:
    """The numbers of the rows whose label can be judged: of a known class, and neither unreadable nor not finite."""
    usable = rows.labels >= 0
    if isinstance(rows, Pictures):
        usable[list(rows.unreadable)] = False
    elif isinstance(rows, Codes):
        usable = usable & ~rows.not_finite
    return np.flatnonzero(usable)


def _groups(rows: Rows) -> np.ndarray:
    """The group of each row: copies and near copies are one."""
    group = np.arange(len(rows))
    near = near_copies(rows) if isinstance(rows, Pictures) else []
    exact = exact_copies(rows)
    first = {row: copies[0] for copies in exact for row in copies}
    for copies in near:
        for row in copies:
            group[row] = copies[0]
    for row, kept in first.items():
        group[row] = group[kept]
    found: np.ndarray = np.unique(group, return_inverse=True)[1]
    return found


def _alike(described: np.ndarray) -> bool:
    """Whether all rows have the same features, such as those of pictures of one colour, which say nothing."""
    return all((described[i : i + 1024] == described[0]).all() for i in range(0, len(described), 1024))


def _features(rows: Rows, known: np.ndarray, seed: int) -> np.ndarray:
    """The features of the judged rows, float16 [m, d]."""
    if isinstance(rows, Pictures):
        return features(rows.thumbnails[known], seed)
    assert isinstance(rows, Codes)
    flat = rows.values.reshape(len(rows), -1)
    rng = np.random.default_rng(seed)
    some = flat[known[:: max(1, len(known) // 2048)]].astype(np.float32)
    mean, deviation = some.mean(axis=0), some.std(axis=0)
    scale = np.maximum(deviation, 1e-3 * deviation.mean() + 1e-9) * np.sqrt(flat.shape[1])
    if flat.shape[1] <= CODE_FEATURES:
        few: np.ndarray = (flat[known].astype(np.float32) - mean) / scale
        return few
    directions = rng.normal(size=(flat.shape[1], CODE_FEATURES)).astype(np.float32)
    found = np.empty((len(known), CODE_FEATURES), np.float32)
    for start in range(0, len(known), 1024):
        found[start : start + 1024] = (
            (flat[known[start : start + 1024]].astype(np.float32) - mean) / scale
        ) @ directions
    return found


def _log_odds_of_noise(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each class, the log odds that a label of it is wrong, by confident learning's counts, float [k].

    A model doubts all labels of a class that people confuse, so that ratios alone rank its wrong labels too low.
    """
    from cleanlab.count import compute_confident_joint

    joint = np.asarray(compute_confident_joint(labels, found, calibrate=False), float)
    right, all_of_class = np.diag(joint), joint.sum(axis=1)
    odds: np.ndarray = np.log(all_of_class - right + 1) - np.log(right + 1)
    return odds


def _issues(found: np.ndarray, labels: np.ndarray) -> int:
    from cleanlab.count import num_label_issues

    return int(num_label_issues(labels, found))
