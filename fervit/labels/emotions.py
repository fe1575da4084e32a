"""The seven emotions in the order of fervit and in that of Kaggle, and what data sets call emotions and splits.

fervit numbers them alphabetically, as class folders are sorted. Kaggle's fer2013.csv has another order (Goodfellow et
al., "Challenges in Representation Learning", 2013).
"""

from __future__ import annotations

import re
import unicodedata

EMOTIONS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
KAGGLE_EMOTIONS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

LABEL_OF_KAGGLE: tuple[int, ...] = tuple(EMOTIONS.index(name) for name in KAGGLE_EMOTIONS)
"""LABEL_OF_KAGGLE[k] is fervit's label for Kaggle's number k."""

SPLITS: tuple[str, ...] = ("train", "val", "test")

SYNONYMS: dict[str, tuple[str, ...]] = {
    "angry": ("anger", "ang", "angery"),
    "disgust": ("disgusted", "dis", "disgusting"),
    "fear": ("fearful", "afraid", "scared", "fea"),
    "happy": ("happiness", "joy", "joyful", "hap", "happily"),
    "neutral": ("neutrality", "neu", "noemotion", "noexpression"),
    "sad": ("sadness",),
    "surprise": ("surprised", "sur", "suprise", "suprised", "surprize", "surprising"),
    "contempt": ("contemptuous", "disdain"),
}
"""Other names of the emotions in data sets, in lower case and without separators. The eighth is not among the seven."""
SPLIT_SYNONYMS: dict[str, tuple[str, ...]] = {
    "train": ("training", "trainset", "traindata", "trainingset"),
    "val": ("valid", "validation", "dev", "valset", "validset", "validationset", "publictest", "development"),
    "test": ("testing", "testset", "testdata", "privatetest"),
}
"""Other names of the splits, in lower case and without separators. FER2013 calls its test splits Public and Private."""


def emotion_of(name: str) -> str | None:
    """The emotion that a name means, such as "angry" for Anger, 0_anger or ANGER; None if it means none of eight."""
    return _meant(without_number(name), SYNONYMS)


def without_number(name: str) -> str:
    """A name without the number before it, such as "anger" for 0_anger."""
    return re.sub(r"^\d+[\s_.-]+", "", name)


def split_of(name: str) -> str | None:
    """The split that a name means, such as "val" for Validation; None if it means none."""
    return _meant(name, SPLIT_SYNONYMS)


def _meant(name: str, synonyms: dict[str, tuple[str, ...]]) -> str | None:
    bare = bare_name(name)
    return next((known for known, others in synonyms.items() if bare == known or bare in others), None)


def bare_name(name: str) -> str:
    """A name in lower case and without separators, by which names are compared.

    Accents are composed, since macOS hands names over with accents of their own.
    """
    return re.sub(r"[\s_.-]+", "", unicodedata.normalize("NFC", name).strip().lower())
