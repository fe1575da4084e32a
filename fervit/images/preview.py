"""Draws pictures before and after preprocessing, a line for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

SIDE, GAP, CAPTION = 112, 6, 16
"""The side of a picture, the gap between pairs and the height of a caption, in pixels."""


def draw_preview(pairs: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]) -> Image.Image:
    """Draws pairs of pictures, one above the other: as it was, and its face.

    Args:
        pairs: the name of each class -> its pairs, RGB uint8 [h, w, 3] each.
    """
    width = max(len(of_class) for of_class in pairs.values()) * (SIDE + GAP)
    height = CAPTION + 2 * SIDE + GAP
    sheet = Image.new("RGB", (width, len(pairs) * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for line, (name, of_class) in enumerate(pairs.items()):
        top = line * height
        draw.text((2, top), f"{name}: before, after", fill="black", font=font)
        for i, pair in enumerate(of_class):
            for j, pixels in enumerate(pair):
                small = ImageOps.contain(Image.fromarray(pixels), (SIDE, SIDE), Image.Resampling.BILINEAR)
                sheet.paste(small, (i * (SIDE + GAP), top + CAPTION + j * SIDE))
    return sheet
