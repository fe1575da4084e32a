"""The faces that a model gets wrong, with their pictures if these can be found."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fervit.errors import UserError
from fervit.evaluation.predictions import FILE, Predictions
from fervit.latents.source import find_faces_of

SHOWN = 24
"""The number of faces that are shown at most."""
SIDE = 96
"""The side of a shown picture in pixels."""


class Face(NamedTuple):
    """A face that the model gets wrong."""

    image_id: str
    truth: str
    predicted: str
    confidence: float
    src: str
    """The picture as a data URI, or "" if it cannot be found."""

    @property
    def alt(self) -> str:
        """The text alternative of the picture."""
        return f"{self.image_id}: truth {self.truth}, predicted {self.predicted}, confidence {self.confidence:.2f}"

    @property
    def caption(self) -> str:
        """The text below the picture."""
        return f"{self.truth}, taken for {self.predicted} ({self.confidence:.2f})"


def wrong_faces(latents: str, folder: Path, data_root: str | None) -> tuple[list[Face], int]:
    """Finds the mistakes with the highest confidence.

    Args:
        latents: the folder or URI of the latents that were evaluated.
        folder: the folder of the evaluation, with its predictions.
        data_root: the data root of the pictures; None for the one that launch/encode.py read.

    Returns:
        At most `SHOWN` faces, and the number of all mistakes.

    Raises:
        UserError: a data root was given, and there are no faces in it.
    """
    if not (folder / FILE).is_file():
        return [], 0
    predictions = Predictions.read(folder / FILE)
    confidence, classes = predictions.probabilities.max(axis=1), predictions.label_set.classes
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:SHOWN]
    ids = [predictions.image_ids[row] for row in surest]
    try:
        pictures = find_faces_of(latents, ids, data_root)
    except UserError:
        if data_root is not None:
            raise
        pictures = [None] * len(ids)
    faces = [
        Face(
            image_id=predictions.image_ids[row],
            truth=classes[predictions.labels[row]],
            predicted=classes[predictions.predicted[row]],
            confidence=float(confidence[row]),
            src=data_uri(picture) if picture is not None else "",
        )
        for row, picture in zip(surest, pictures, strict=True)
    ]
    return faces, len(wrong)


def data_uri(pixels: np.ndarray) -> str:
    """Returns a picture, uint8 [h, w, 3] or [h, w], as a data URI of `SIDE` pixels a side."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
