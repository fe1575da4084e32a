"""The faces that a model gets wrong, with their pictures where these are at hand."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fervit.emotions import EMOTIONS
from fervit.errors import UserError
from fervit.evaluation.predictions import FILE, Predictions
from fervit.latents.source import find_faces_of

SHOWN = 24
SIDE = 96


class Face(NamedTuple):
    image_id: str
    truth: str
    predicted: str
    confidence: float
    src: str
    """The picture as a data URI; "" if it is not at hand."""

    @property
    def alt(self) -> str:
        return f"{self.image_id}: truth {self.truth}, predicted {self.predicted}, confidence {self.confidence:.2f}"

    @property
    def caption(self) -> str:
        return f"{self.truth}, taken for {self.predicted} ({self.confidence:.2f})"


def wrong_faces(results: dict[str, Any], folder: Path, data_root: str | None) -> tuple[list[Face], int]:
    """The mistakes that a model was surest of, and how many there are.

    Args:
        results: of the evaluation.
        folder: of the evaluation, with its predictions.
        data_root: of the faces; None for where encode.py found them.
    """
    if not (folder / FILE).is_file():
        return [], 0
    predictions = Predictions.read(folder / FILE)
    confidence = predictions.probabilities.max(axis=1)
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:SHOWN]
    ids = [predictions.image_ids[row] for row in surest]
    try:
        pictures = find_faces_of(results["latents"]["path"], ids, data_root)
    except UserError:
        if data_root is not None:
            raise
        pictures = [None] * len(ids)
    faces = [
        Face(
            image_id=predictions.image_ids[row],
            truth=EMOTIONS[predictions.labels[row]],
            predicted=EMOTIONS[predictions.predicted[row]],
            confidence=float(confidence[row]),
            src=_data_uri(picture) if picture is not None else "",
        )
        for row, picture in zip(surest, pictures, strict=True)
    ]
    return faces, len(wrong)


def _data_uri(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
