"""Cuts a face out of a picture as FFHQ's faces were; the encoders know faces that are cut out so.

Karras et al., "A style-based generator architecture for generative adversarial networks" (CVPR 2019), appendix C.
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
    pixels: np.ndarray
    """uint8 [size, size, 3]."""
    box: np.ndarray
    """Of the face in the picture: x, y, width, height."""
    faces: int
    """How many there are in the picture; the largest was taken."""


def find_and_align(pixels: np.ndarray, detector: FaceDetector, size: int = 256) -> Aligned:
    """The largest face of a picture, RGB uint8 [h, w, 3].

    Raises:
        ValueError: there is no face.
    """
    found = detector.find(pixels)
    if not found:
        raise ValueError("no face was found")
    return Aligned(pixels=align(pixels, found[0], size), box=found[0].box, faces=len(found))


def align(pixels: np.ndarray, face: Landmarks, size: int = 256) -> np.ndarray:
    """uint8 [size, size, 3]: eyes level, at FFHQ's place and scale; what lies outside the picture is mirrored and
    blurred."""
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
    """float [4, 2]: top left, bottom left, bottom right, top right of the square that is cut out."""
    eyes = (face.left_eye + face.right_eye) / 2
    between_eyes = face.right_eye - face.left_eye
    to_mouth = (face.left_mouth + face.right_mouth) / 2 - eyes
    x = between_eyes - np.array([-to_mouth[1], to_mouth[0]])
    x = x / np.hypot(*x) * max(2.0 * np.hypot(*between_eyes), 1.8 * np.hypot(*to_mouth))
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * to_mouth
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def _padded(pixels: np.ndarray, pad: np.ndarray, sigma: float) -> np.ndarray:
    """Mirrored at the rims, which fade into a blurred picture and then into its median colour.

    Args:
        pixels: uint8 [h, w, 3].
        pad: left, top, right, bottom.
        sigma: of the blur.
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
