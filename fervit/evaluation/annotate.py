"""Draws a picture together with the prediction for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fervit.evaluation.predictor import Prediction
from fervit.io.files import whole_file

SMALLEST = 256
"""The width in pixels to which smaller pictures are enlarged, so that the text fits."""
ROW = 18
BAR, BACK, INK = (42, 127, 186), (244, 246, 248), (27, 31, 36)


def save_annotated(pixels: np.ndarray, prediction: Prediction, path: Path) -> None:
    """Writes a PNG of the picture with a frame around the face, and below it a bar for each emotion.

    Args:
        pixels: the picture, RGB uint8 [h, w, 3].
        prediction: the prediction for that picture.
        path: the path of the PNG, which appears whole or not at all.
    """
    picture = Image.fromarray(pixels)
    scale = max(1.0, SMALLEST / picture.width)
    picture = picture.resize((round(scale * picture.width), round(scale * picture.height)), Image.Resampling.BICUBIC)
    probabilities = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    sheet = Image.new("RGB", (picture.width, picture.height + ROW * len(probabilities) + 8), BACK)
    sheet.paste(picture)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    if prediction.box is not None:
        x, y, w, h = (scale * value for value in prediction.box)
        draw.rectangle((x, y, x + w, y + h), outline=(255, 220, 0), width=max(2, picture.width // 200))
    for i, (emotion, share) in enumerate(probabilities):
        y = picture.height + 4 + ROW * i
        draw.text((6, y), emotion, INK, font)
        whole = picture.width - 80 - 48
        draw.rectangle((80, y + 3, 80 + max(1, round(whole * share)), y + ROW - 4), BAR)
        draw.text((84 + round(whole * share), y), f"{share:.2f}", INK, font)
    with whole_file(path) as aside:
        sheet.save(aside, "PNG")
