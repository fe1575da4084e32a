"""Features of thumbnails that need no trained encoder: how strongly learned patches answer in each part of the face.

Patches are learned from the data set itself, without labels, by spherical k-means on whitened patches.

Paper: Coates, Lee and Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning" (AISTATS 2011).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from fervit.auditing.pictures import THUMBNAIL

SIDE, STRIDE = 8, 2
"""The side of a patch, and the pixels between two, in pixels of a thumbnail."""
FILTERS = 200
"""The number of patches that are learned."""
GRID = 4
"""The face is divided into so many parts in each direction."""
THRESHOLD = 0.25
"""Weaker answers count as none."""
BATCH = 64
"""The pictures that are handled at once."""
SAMPLE, PICTURES, ROUNDS = 40_000, 4000, 10
"""Patches are learned from so many, cut from so many pictures, in so many rounds."""
SOFT, WHITEN, CONTRAST = 0.3, 0.1, 8.0
"""What is added to the deviation of a patch, to the variances in whitening, and to the contrast of a picture."""


class Patches(NamedTuple):
    """The learned patches: an answer is `(patch - its mean) / (its deviation + SOFT) @ weights - offsets`."""

    weights: np.ndarray
    """Whitening and patches in one matrix, float32 [SIDE * SIDE, FILTERS]."""
    offsets: np.ndarray
    """float32 [FILTERS]."""


def features(thumbnails: np.ndarray, seed: int = 0) -> np.ndarray:
    """Computes the features of thumbnails, with patches that are learned from them.

    Args:
        thumbnails: grey values, uint8 [n, 48, 48].
        seed: of the sample of patches.

    Returns:
        float16 [n, 2 * FILTERS * GRID * GRID].
    """
    patches = learn(thumbnails, seed)
    weights, offsets = torch.from_numpy(patches.weights), torch.from_numpy(patches.offsets)
    places = (THUMBNAIL - SIDE) // STRIDE + 1
    pool = torch.from_numpy(_pooling(places))
    answers = torch.empty(BATCH * places * places, FILTERS)  # kept, since fresh memory costs more than the arithmetic
    found = np.empty((len(thumbnails), 2 * FILTERS * GRID * GRID), np.float16)
    for start in range(0, len(thumbnails), BATCH):
        images = torch.from_numpy(_normalised(thumbnails[start : start + BATCH]))
        n = len(images)
        cut = images.unfold(1, SIDE, STRIDE).unfold(2, SIDE, STRIDE).reshape(-1, SIDE * SIDE)
        deviation, mean = torch.std_mean(cut, dim=1, keepdim=True, correction=0)
        cut = cut.sub_(mean).div_(deviation + SOFT)
        of_batch = torch.addmm(-offsets, cut, weights, out=answers[: len(cut)])
        shrunk = F.softshrink(of_batch, THRESHOLD).view(n, places * places, FILTERS)
        both = pool @ shrunk
        positive = pool @ shrunk.clamp_(min=0)
        found[start : start + n] = torch.cat([positive, positive - both], dim=1).flatten(1).half().numpy()
    return found


def _pooling(places: int) -> np.ndarray:
    """The means over the parts of a face as a matrix, float32 [GRID * GRID, places * places]."""
    part = np.arange(places) * GRID // places
    rows = (part[:, None] * GRID + part).ravel()
    matrix = (np.arange(GRID * GRID)[:, None] == rows).astype(np.float32)
    pooled: np.ndarray = matrix / matrix.sum(axis=1, keepdims=True)
    return pooled


def learn(thumbnails: np.ndarray, seed: int = 0) -> Patches:
    """Learns patches from thumbnails, uint8 [n, 48, 48]."""
    rng = np.random.default_rng(seed)
    some = np.sort(rng.choice(len(thumbnails), min(PICTURES, len(thumbnails)), replace=False))
    images = _normalised(thumbnails[some])
    windows = np.lib.stride_tricks.sliding_window_view(images, (SIDE, SIDE), axis=(1, 2))
    places = rng.integers(0, THUMBNAIL - SIDE + 1, (2, SAMPLE))
    cut = windows[rng.integers(0, len(images), SAMPLE), places[0], places[1]].reshape(SAMPLE, -1)
    cut = (cut - cut.mean(axis=1, keepdims=True)) / (cut.std(axis=1, keepdims=True) + SOFT)
    mean = cut.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((cut - mean).T))
    whitening = ((vectors / np.sqrt(values + WHITEN)) @ vectors.T).astype(np.float32)
    white = (cut - mean) @ whitening
    centres = _spherical_k_means(white, rng)
    weights = whitening @ centres.T
    return Patches(weights=weights, offsets=mean @ weights)


def _spherical_k_means(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Finds directions, float32 [FILTERS, d] of length 1, that points [n, d] have in common, up to their signs."""
    centres = rng.normal(size=(FILTERS, points.shape[1])).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    for _ in range(ROUNDS):
        answers = points @ centres.T
        nearest = np.abs(answers).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, answers[np.arange(len(points)), nearest, None] * points)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), centres)
    return centres


def _normalised(thumbnails: np.ndarray) -> np.ndarray:
    """Thumbnails with a mean of 0 and about the same contrast, float32 [n, 48, 48]."""
    images = thumbnails.astype(np.float32)
    images -= images.mean(axis=(1, 2), keepdims=True)
    images /= images.std(axis=(1, 2), keepdims=True) + np.float32(CONTRAST)
    return images
