"""The seven emotions: their order in fervit, and Kaggle's.

fervit numbers them alphabetically, as class folders sort. Kaggle's fer2013.csv has an order of its own
(Goodfellow et al., "Challenges in Representation Learning", 2013).
"""

from __future__ import annotations

from collections.abc import Iterable

EMOTIONS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
KAGGLE_EMOTIONS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

NUM_EMOTIONS = len(EMOTIONS)
LABEL_OF_KAGGLE: tuple[int, ...] = tuple(EMOTIONS.index(name) for name in KAGGLE_EMOTIONS)
"""LABEL_OF_KAGGLE[k] is fervit's label for Kaggle's number k."""

SPLITS: tuple[str, ...] = ("train", "val", "test")


def without_faces(counts: Iterable[int]) -> list[str]:
    """The emotions of which `counts` [7] has none."""
    return [name for name, n in zip(EMOTIONS, counts, strict=True) if n == 0]
