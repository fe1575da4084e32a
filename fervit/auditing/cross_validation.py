"""Probabilities of the classes for every row, from a classifier that has not seen the row nor a copy of it.

The classifier is kernel ridge regression with a Gaussian kernel on a sample of rows (Nyström's method: Williams and
Seeger, "Using the Nyström Method to Speed Up Kernel Machines", NIPS 2000). Its normal equations are sums over rows, so
that those of all folds but one are a subtraction, and five folds cost little more than one training.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

FOLDS, JITTER = 5, 1e-4
LANDMARKS = 3000
"""The number of rows that span the functions of the classifier."""
WIDTH, RIDGE = 0.5, 0.1
"""The kernel is exp(-WIDTH * d) for a squared distance of d times the mean one; RIDGE is the weight of the penalty."""
CHUNK = 2048


def probabilities(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, n_classes: int, *, seed: int = 0
) -> np.ndarray:
    """Computes cross-validated probabilities.

    Args:
        features: of each row, any float type [n, d].
        labels: the class of each row, int64 [n].
        groups: the group of each row, int64 [n]; rows of one group, such as copies, are never on two sides.
        n_classes: the number of classes.
        seed: of the folds and the landmarks.

    Returns:
        The probabilities, float32 [n, n_classes]. Their sharpness is what fits the given labels best.
    """
    rng = np.random.default_rng(seed)
    n = len(labels)
    fold = rng.integers(0, FOLDS, int(groups.max()) + 1)[groups]
    landmarks = np.sort(rng.choice(n, min(LANDMARKS, n), replace=False))
    kernel = _kernel(features, landmarks)
    penalty = kernel[landmarks]
    kernel -= kernel.mean(axis=0)  # so that sums of squares lose few digits
    targets = np.eye(n_classes, dtype=np.float32)[labels] - np.float32(1 / n_classes)
    return _calibrated(_held_out(kernel, penalty, targets, fold), labels)


def _kernel(features: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The kernel between all rows and the landmarks, float32 [n, m]."""
    mean, deviation = _statistics(features)
    at = (features[landmarks].astype(np.float32) - mean) / deviation
    squares = (at * at).sum(axis=1)
    scale = WIDTH / float(squares.mean())
    kernel = np.empty((len(features), len(at)), np.float32)
    for start in range(0, len(features), CHUNK):
        rows = (features[start : start + CHUNK].astype(np.float32) - mean) / deviation
        distances = (rows * rows).sum(axis=1)[:, None] + squares - 2 * (rows @ at.T)
        kernel[start : start + CHUNK] = np.exp(-scale * np.maximum(distances, 0))
    return kernel


def _held_out(kernel: np.ndarray, penalty: np.ndarray, targets: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The scores of each row, float32 [n, k], by the regression on the other folds.

    Args:
        kernel: the kernel between rows and landmarks [n, m].
        penalty: the kernel between landmarks [m, m].
        targets: what the scores should be, float32 [n, k].
        fold: the number of the fold of each row, int64 [n].
    """
    rows = [np.flatnonzero(fold == k) for k in range(FOLDS)]
    of_folds = [(kernel[part].T @ kernel[part], kernel[part].T @ targets[part]) for part in rows]
    squares = np.sum([square for square, _ in of_folds], axis=0)
    products = np.sum([product for _, product in of_folds], axis=0)
    scores = np.zeros_like(targets)
    for part, (square, product) in zip(rows, of_folds, strict=True):
        whole = (squares - square).astype(np.float64) + RIDGE * penalty
        whole[np.diag_indices_from(whole)] += JITTER * float(np.trace(squares)) / len(whole)
        scores[part] = kernel[part] @ cho_solve(cho_factor(whole), products - product).astype(np.float32)
    return scores


def _statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of each feature, float32 [d]; constant features get a large one."""
    total, squares = (np.zeros(features.shape[1]) for _ in range(2))
    for start in range(0, len(features), CHUNK):
        part = features[start : start + CHUNK].astype(np.float32)
        total += part.sum(axis=0)
        squares += (part * part).sum(axis=0)
    mean = total / len(features)
    deviation = np.sqrt(np.maximum(squares / len(features) - mean * mean, 0))
    floor = 1e-3 * float(deviation.mean()) + 1e-9
    return mean.astype(np.float32), np.maximum(deviation, floor).astype(np.float32)


def _calibrated(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Turns scores into probabilities by the one factor that makes the labels likeliest."""
    rows = np.arange(len(labels))

    def loss(log_factor: float) -> float:
        return -float(log_softmax(scores * np.float32(np.exp(log_factor)), axis=1)[rows, labels].mean())

    best = minimize_scalar(loss, bounds=(-2, 5), method="bounded")
    found: np.ndarray = softmax(scores * np.float32(np.exp(best.x)), axis=1)
    return found
