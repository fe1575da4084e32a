"""Reads pictures into pixels, resizes them to the size of an encoder's input, and hashes them."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pyarrow.fs as pafs
from PIL import Image, ImageOps, UnidentifiedImageError

from fervit.errors import UserError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def read_picture(filesystem: pafs.FileSystem, path: str) -> np.ndarray:
    """Reads a picture into RGB pixels, uint8 [height, width, 3], turned upright by its EXIF orientation.

    Grey values of 16 and 32 bits and of floating point are scaled to 8 bits, by the range in which they lie.
    Transparency is dropped, as in pSp.

    Args:
        filesystem: the file system that the picture is on.
        path: its path there.

    Raises:
        OSError, ValueError, Image.DecompressionBombError: PIL cannot read the file, or its grey values lie in no known
            range.
    """
    if not path:
        raise ValueError("the file's name is not UTF-8: rename it")
    with filesystem.open_input_stream(path) as stream:
        content = stream.readall()
    if not content:
        raise ValueError("the file is empty")
    try:
        picture = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError("is no picture of a kind that Pillow reads") from None
    with picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith(("I", "F")):  # which PIL's convert would clip at 255
            upright = Image.fromarray(_eight_bits(np.asarray(upright, np.float64), fractions=upright.mode == "F"))
        return np.asarray(upright.convert("RGB"))


def _eight_bits(grey: np.ndarray, *, fractions: bool) -> np.ndarray:
    """Scales grey values, float64 [h, w], to uint8: from 0..1 if they may be `fractions`, from 0..255 or 0..65535.

    Raises:
        ValueError: some are not finite, negative, or larger.
    """
    low, high = float(grey.min()), float(grey.max())
    if not np.isfinite(grey).all() or low < 0 or high > 65535:
        raise ValueError(
            f"its grey values lie in {low:g}..{high:g}, but must lie in 0..1, 0..255 or 0..65535: convert the picture"
        )
    scale = 255.0 if fractions and high <= 1 else 1.0 if high <= 255 else 1 / 257
    scaled: np.ndarray = (grey * scale).round().astype(np.uint8)
    return scaled


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resizes pixels, uint8 [h, w, 3] -> uint8 [size, size, 3].

    It uses PIL's bilinear filter, which averages when it shrinks. The aspect ratio is not kept, as in pSp.
    """
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def pixels_sha256(pixels: np.ndarray) -> str:
    """Computes the hash that is stored with a face's code: the SHA-256 of its pixels at the size of the encoder's
    input.
    """
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def reason_of(error: Exception) -> str:
    """Says why a face failed: in fervit's words, or in those of a library with the kind of its error."""
    text = str(error).replace("\n", " ")
    return text if type(error) in (ValueError, UserError) else f"{type(error).__name__}: {text}"


SIDE = 48
"""The side of a face of fer2013.csv in pixels."""


def parse_pixels(text: str) -> np.ndarray:
    """Parses the grey values "70 80 82 ..." of a row of fer2013.csv into RGB pixels, uint8 [48, 48, 3].

    Raises:
        ValueError: the text is not 2,304 numbers in 0..255.
    """
    values = np.array(text.split(), dtype=np.int64)
    if values.size != SIDE * SIDE:
        raise ValueError(f"a row needs {SIDE * SIDE} grey values, but this one has {values.size}")
    if values.min() < 0 or values.max() > 255:
        raise ValueError(f"grey values lie in 0..255, but this row has {values.min()}..{values.max()}")
    return np.repeat(values.astype(np.uint8).reshape(SIDE, SIDE, 1), 3, axis=2)
