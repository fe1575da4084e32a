"""Finds faces and their landmarks with YuNet.

Paper: Wu, Peng and Yu, "YuNet: A tiny millisecond-level face detector" (Machine Intelligence Research, 2023).
OpenCV runs the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fervit.errors import UserError
from fervit.io.files import recognise_download

SCORE, OVERLAP, CANDIDATES = 0.6, 0.3, 5000
"""The lowest score of a face, the highest overlap of two faces, and the number of boxes that are compared for overlap.
"""
SIDES = (320, 1280)
"""Pictures are scaled so that their longer side is between these. Faces of fewer than about 10 pixels are not found."""
RIM = 0.3
"""If no face is found, this share of the longer side is added around the picture, since a face may fill it entirely."""


@dataclass(frozen=True, kw_only=True)
class Landmarks:
    """The landmarks of a face: points (x, y) in pixels of the picture. Left and right are as seen in the picture."""

    left_eye: np.ndarray
    right_eye: np.ndarray
    left_mouth: np.ndarray
    right_mouth: np.ndarray
    box: np.ndarray
    """The frame of the face in pixels: x, y, width, height."""
    score: float
    """How sure the detector is, 0..1."""


class FaceDetector:
    """The face detector YuNet.

    Args:
        model: the ONNX file of YuNet, such as face_detection_yunet_2023mar.onnx of OpenCV's model zoo.
        smallest_side: pictures whose longer side is shorter are enlarged to it, in pixels. A smaller one is faster.

    Raises:
        UserError: there is no such file, or it does not hold YuNet.
    """

    def __init__(self, model: str | Path, *, smallest_side: int = SIDES[0]) -> None:
        import cv2

        self._smallest_side = smallest_side

        path = Path(model)
        if not path.is_file():
            raise UserError(
                f"--face_detector {path}: there is no such file; download face_detection_yunet_2023mar.onnx (0.2 MB, "
                "from github.com/opencv/opencv_zoo, models/face_detection_yunet)"
            )
        wrong = recognise_download(path)
        if wrong:
            raise UserError(f"--face_detector {path}: {wrong}")
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._network: Any = cv2.FaceDetectorYN.create(str(path), "", (320, 320), SCORE, OVERLAP, CANDIDATES)
            self._detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error:
            raise UserError(
                f"--face_detector {path}: is no YuNet that OpenCV reads; face_detection_yunet_2023mar.onnx is wanted"
            ) from None

    def find(self, pixels: np.ndarray) -> list[Landmarks]:
        """Finds the faces of a picture, RGB uint8 [h, w, 3], the largest first."""
        found = self._detect(pixels)
        if not found:
            rim = round(RIM * max(pixels.shape))
            found = [
                _moved(face, -rim) for face in self._detect(np.pad(pixels, ((rim, rim), (rim, rim), (0, 0)), "edge"))
            ]
        return sorted(found, key=lambda face: -float(face.box[2] * face.box[3]))

    def _detect(self, pixels: np.ndarray) -> list[Landmarks]:
        import cv2

        side = max(pixels.shape[:2])
        scale = min(max(side, self._smallest_side), SIDES[1]) / side
        size = tuple(max(1, round(scale * n)) for n in pixels.shape[1::-1])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        self._network.setInputSize(size)
        rows = self._network.detect(cv2.resize(pixels[:, :, ::-1], size, interpolation=how))[1]
        return [_landmarks(row / [*([scale] * 14), 1]) for row in (rows if rows is not None else [])]


def _landmarks(row: np.ndarray) -> Landmarks:
    """Reads a row of YuNet's output.

    It holds the frame, then right eye, left eye, nose, right and left corner of the mouth, with left and right as seen
    by the person, then the score.
    """
    points = row[4:14].reshape(5, 2)
    return Landmarks(
        left_eye=points[0],
        right_eye=points[1],
        left_mouth=points[3],
        right_mouth=points[4],
        box=row[:4],
        score=float(row[14]),
    )


def _moved(face: Landmarks, by: float) -> Landmarks:
    """Moves landmarks to the right and down by some pixels."""
    return Landmarks(
        left_eye=face.left_eye + by,
        right_eye=face.right_eye + by,
        left_mouth=face.left_mouth + by,
        right_mouth=face.right_mouth + by,
        box=face.box + np.array([by, by, 0, 0]),
        score=face.score,
    )
