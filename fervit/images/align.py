"""Cuts a face out of a picture as the faces of FFHQ were cut out, which the encoders were trained on.

Paper: Karras et al., "A style-based generator architecture for generative adversarial networks" (CVPR 2019),
appendix C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from fervit.images.detector import FaceDetector, Landmarks


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """A face that was cut out of a picture."""

    pixels: np.ndarray
    """The aligned face, RGB uint8 [size, size, 3]."""
    box: np.ndarray
    """The frame of the face in the picture, in pixels: x, y, width, height."""
    faces: int
    """The number of faces in the picture, of which the largest was taken."""


def find_and_align(pixels: np.ndarray, detector: FaceDetector, size: int = 256) -> Aligned:
    """Finds the largest face of a picture and cuts it out.

    Args:
        pixels: the picture, RGB uint8 [h, w, 3].
        detector: the face detector.
        size: the side of the aligned face in pixels.

    Raises:
        ValueError: no face was found.
    """
    found = detector.find(pixels)
    if not found:
        raise ValueError("no face was found")
    return Aligned(pixels=align(pixels, found[0], size), box=found[0].box, faces=len(found))


def align(pixels: np.ndarray, face: Landmarks, size: int = 256) -> np.ndarray:
    """Cuts out a face with level eyes, at the position and scale of FFHQ. The outside of the picture is mirrored.

    Args:
        pixels: the picture, RGB uint8 [h, w, 3].
        face: the landmarks of the face.
        size: the side of the result in pixels.

    Returns:
        The aligned face, RGB uint8 [size, size, 3].
    """
    quad = corners(face)
    side = float(np.hypot(*(quad[3] - quad[0])))
    picture = Image.fromarray(pixels)
    shrink = math.floor(side / size / 2)
    if shrink > 1:
        picture = picture.resize(
            (int(np.rint(picture.width / shrink)), int(np.rint(picture.height / shrink))), Image.Resampling.LANCZOS
        )
        quad, side = quad / shrink, side / shrink
    border = max(int(np.rint(0.1 * side)), 3)
    low = np.floor(quad.min(axis=0)).astype(int) - border
    high = np.ceil(quad.max(axis=0)).astype(int) + border
    crop = (max(low[0], 0), max(low[1], 0), min(high[0], picture.width), min(high[1], picture.height))
    if crop[2] - crop[0] < picture.width or crop[3] - crop[1] < picture.height:
        picture = picture.crop(crop)
        quad = quad - crop[:2]
    low = np.floor(quad.min(axis=0)).astype(int)
    high = np.ceil(quad.max(axis=0)).astype(int)
    pad = np.maximum([*(-low + border), *(high - picture.size + border)], 0)
    if pad.max() > border - 4:
        pad = np.maximum(pad, int(np.rint(0.3 * side)))
        picture = Image.fromarray(_padded(np.asarray(picture), pad, 0.02 * side))
        quad = quad + pad[:2]
    corners_xy = (quad + 0.5).ravel().tolist()
    return np.asarray(picture.transform((size, size), Image.Transform.QUAD, corners_xy, Image.Resampling.BILINEAR))


def corners(face: Landmarks) -> np.ndarray:
    """Computes the square that is cut out: its corners (x, y) in pixels, float [4, 2].

    Their order is top left, bottom left, bottom right, top right.
    """
    eyes = (face.left_eye + face.right_eye) / 2
    between_eyes = face.right_eye - face.left_eye
    to_mouth = (face.left_mouth + face.right_mouth) / 2 - eyes
    x = between_eyes - np.array([-to_mouth[1], to_mouth[0]])
    x = x / np.hypot(*x) * max(2.0 * np.hypot(*between_eyes), 1.8 * np.hypot(*to_mouth))
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * to_mouth
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def _padded(pixels: np.ndarray, pad: np.ndarray, sigma: float) -> np.ndarray:
    """Extends a picture by mirroring it. The rims fade into a blurred picture and then into its median colour.

    Args:
        pixels: the picture, uint8 [h, w, 3].
        pad: the width of the rims in pixels: left, top, right, bottom.
        sigma: the standard deviation of the blur in pixels.
    """
    left, top, right, bottom = pad
    image = np.pad(pixels.astype(np.float32), ((top, bottom), (left, right), (0, 0)), "reflect")
    h, w = image.shape[:2]
    y, x, _ = np.ogrid[:h, :w, :1]
    mask = np.maximum(
        1 - np.minimum(x / np.float32(left), (w - 1 - x) / np.float32(right)),
        1 - np.minimum(y / np.float32(top), (h - 1 - y) / np.float32(bottom)),
    )
    image += (gaussian_filter(image, [sigma, sigma, 0]) - image) * np.clip(3 * mask + 1, 0, 1)
    image += (np.median(image, axis=(0, 1)) - image) * np.clip(mask, 0, 1)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
