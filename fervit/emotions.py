"""The seven emotions in the order of fervit and in that of Kaggle.

fervit numbers them alphabetically, as class folders are sorted. Kaggle's fer2013.csv has another order (Goodfellow et
al., "Challenges in Representation Learning", 2013).
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
    """The emotions that have no face, given the number of faces of each emotion [7]."""
    return [name for name, n in zip(EMOTIONS, counts, strict=True) if n == 0]
