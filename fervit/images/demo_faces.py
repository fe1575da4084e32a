"""Generated faces of seven emotions, for the demo and the tests: nobody's picture.

A face is a drawing with the moving parts of a real one (after the action units of Ekman & Friesen's FACS, 1978): brows,
eyes, lids, nose, cheeks and mouth follow the emotion; identity, pose, light and noise vary from face to face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fervit.emotions import EMOTIONS
from fervit.files import whole_file

SIZE = 96
_CANVAS = 3 * SIZE  # drawn three times as large, then shrunk: smooth edges


@dataclass(frozen=True, kw_only=True)
class Expression:
    """How far each part of the face moves; 0 is at rest, 1 about as far as faces go."""

    brow_raise: float = 0.0
    inner_brow: float = 0.0
    """Above 0 the brows slant as in grief, below 0 as in anger."""
    eye_open: float = 0.0
    cheeks: float = 0.0
    nose_wrinkle: float = 0.0
    smile: float = 0.0
    """Above 0 the corners of the mouth go up, below 0 down."""
    mouth_open: float = 0.0
    mouth_width: float = 0.0
    upper_lip: float = 0.0


EXPRESSIONS: dict[str, Expression] = {
    "angry": Expression(brow_raise=-0.7, inner_brow=-1.0, eye_open=-0.35, smile=-0.35, mouth_width=-0.4),
    "disgust": Expression(
        brow_raise=-0.5, inner_brow=-0.4, eye_open=-0.6, nose_wrinkle=1.0, upper_lip=1.0, smile=-0.5, mouth_open=0.15
    ),
    "fear": Expression(brow_raise=0.7, inner_brow=0.7, eye_open=0.9, mouth_open=0.35, mouth_width=0.8, smile=-0.25),
    "happy": Expression(cheeks=1.0, smile=1.0, mouth_open=0.3, mouth_width=0.7, eye_open=-0.3),
    "neutral": Expression(),
    "sad": Expression(inner_brow=1.0, brow_raise=0.1, eye_open=-0.5, smile=-1.0, mouth_width=-0.2),
    "surprise": Expression(brow_raise=1.1, eye_open=1.0, mouth_open=1.1, mouth_width=-0.6),
}


def draw_face(emotion: str, rng: np.random.Generator) -> Image.Image:
    """One face, RGB, SIZE x SIZE pixels."""
    at_rest = EXPRESSIONS[emotion]
    strength = rng.uniform(0.75, 1.15)
    moved = {
        name: value * strength * rng.uniform(0.8, 1.2) + rng.normal(0, 0.06) for name, value in vars(at_rest).items()
    }
    sharp = _draw(replace(at_rest, **moved), rng)
    picture = sharp.rotate(rng.uniform(-6, 6), Image.Resampling.BICUBIC, fillcolor=sharp.getpixel((2, 2)))
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 2.5))).resize((SIZE, SIZE), Image.Resampling.BOX)
    return _light_and_noise(picture, rng)


def write_demo_faces(output_dir: Path, per_class: dict[str, int], seed: int) -> int:
    """Writes OUTPUT/<split>/<emotion>/face_<i>.png and returns how many. The same seed gives the same faces."""
    for old in output_dir.glob("*/*/face_*.png"):
        old.unlink()  # of an earlier call with other numbers
    written = 0
    for s, (split, n) in enumerate(per_class.items()):
        for label, emotion in enumerate(EMOTIONS):
            for i in range(n):
                picture = draw_face(emotion, np.random.default_rng([seed, s, label, i]))
                with whole_file(output_dir / split / emotion / f"face_{i:03d}.png") as aside:
                    picture.save(aside, format="PNG")
                written += 1
    return written


def contact_sheet(rows: int, seed: int) -> Image.Image:
    """One column an emotion, `rows` faces each."""
    sheet = Image.new("RGB", (SIZE * len(EMOTIONS), SIZE * rows))
    for label, emotion in enumerate(EMOTIONS):
        for i in range(rows):
            sheet.paste(draw_face(emotion, np.random.default_rng([seed, label, i])), (label * SIZE, i * SIZE))
    return sheet


def _draw(e: Expression, rng: np.random.Generator) -> Image.Image:
    """The face in units of half the canvas: x to the right, y down, the middle of the face at (0, 0)."""
    unit = _CANVAS / 2 * rng.uniform(0.92, 1.05)
    shift = rng.uniform(-0.035, 0.035, 2)
    yaw = rng.uniform(-0.06, 0.06)  # turning the head moves its parts sideways, before the skull
    skin = np.array([224, 172, 138]) * rng.uniform(0.45, 1.1) * rng.uniform(0.94, 1.06, 3)
    hair = np.array([70, 48, 34]) * rng.uniform(0.3, 2.4)
    background = rng.uniform(90, 190) + rng.uniform(-30, 30, 3)
    head_w, head_h = rng.uniform(0.56, 0.68), rng.uniform(0.74, 0.84)
    eye_x, eye_y, eye_r = rng.uniform(0.24, 0.30), rng.uniform(-0.20, -0.12), rng.uniform(0.085, 0.11)
    mouth_y, lip = rng.uniform(0.40, 0.48), rng.uniform(0.035, 0.055)
    brow_w = rng.uniform(0.030, 0.055)

    image = Image.new("RGB", (_CANVAS, _CANVAS), _colour(background))
    pen = ImageDraw.Draw(image)

    def at(x: float, y: float) -> tuple[float, float]:
        return _CANVAS / 2 + (x + shift[0]) * unit, _CANVAS / 2 + (y + shift[1]) * unit

    def ellipse(x: float, y: float, rx: float, ry: float, colour: np.ndarray) -> None:
        rx, ry = max(rx, 0.004), max(ry, 0.004)
        pen.ellipse([at(x - rx, y - ry), at(x + rx, y + ry)], fill=_colour(colour))

    def line(points: list[tuple[float, float]], width: float, colour: np.ndarray) -> None:
        pen.line([at(*p) for p in points], fill=_colour(colour), width=max(1, round(width * unit)), joint="curve")
        for x, y in (points[0], points[-1]):
            ellipse(x, y, width / 2, width / 2, colour)

    # Hair, ears, head.
    hair_h = rng.uniform(0.12, 0.28)
    ellipse(0, -0.12, head_w * 1.12, head_h * 0.95 + hair_h * 0.3, hair)
    for side in (-1, 1):
        ellipse(side * head_w, 0.0, 0.08, 0.14, skin * 0.9)
    ellipse(0, 0.03, head_w, head_h, skin)
    pen.chord([at(-head_w, 0.03 - head_h), at(head_w, 0.03 + head_h)], 222, 318, fill=_colour(hair))

    # Cheeks: raised ones show a fold below the eyes and a blush.
    for side in (-1, 1):
        if e.cheeks > 0.2:
            ellipse(side * 0.36 + yaw, 0.16, 0.12, 0.09 * e.cheeks, skin * [1.08, 0.86, 0.84])
            fold = [(side * (0.17 + 0.11 * t) + yaw, 0.02 + 0.04 * math.sin(t * math.pi)) for t in np.linspace(0, 1, 7)]
            line(fold, 0.014, skin * 0.75)

    # Eyes and lids.
    opening = max(0.12, 1 + 0.75 * e.eye_open)
    for side in (-1, 1):
        x = side * eye_x + yaw
        ellipse(x, eye_y, eye_r * 1.35, eye_r * 0.8 * opening, np.array([245, 243, 238]))
        iris = min(eye_r * 0.62, eye_r * 0.8 * opening)
        ellipse(x + yaw * 0.2, eye_y, iris, iris, hair * 0.8 + [10, 20, 30])
        lid = [
            (x + eye_r * 1.4 * math.cos(t), eye_y - eye_r * 0.8 * opening * math.sin(t))
            for t in np.linspace(0, math.pi, 9)
        ]
        line(lid, 0.022, skin * 0.42)

    # Brows: five points from the inner end to the outer.
    for side in (-1, 1):
        brow = []
        for t in np.linspace(0, 1, 5):
            arch = 0.05 * math.sin(t * math.pi) * (1 + 0.5 * max(0.0, e.brow_raise))
            slant = 0.11 * e.inner_brow * (0.6 - t)
            y = eye_y - 0.19 - 0.11 * e.brow_raise - arch - slant
            squeeze = 0.03 * max(0.0, -e.inner_brow) * (1 - t)
            brow.append((side * (eye_x - 0.13 - squeeze + 0.27 * t) + yaw, y))
        line(brow, brow_w, hair * 0.6)

    # Nose, with wrinkles at its root when it is drawn up.
    nose_y = 0.20 - 0.04 * e.nose_wrinkle
    line(
        [(yaw * 1.3 - 0.01, eye_y + 0.08), (yaw * 1.8 + 0.05, nose_y), (yaw * 1.5 - 0.03, nose_y + 0.02)],
        0.016,
        skin * 0.7,
    )
    if e.nose_wrinkle > 0.25:
        for k in range(3):
            y = eye_y + 0.03 + 0.055 * k
            line([(yaw - 0.07, y + 0.02), (yaw, y - 0.02), (yaw + 0.07, y + 0.02)], 0.018 * e.nose_wrinkle, skin * 0.55)
        for side in (-1, 1):
            line([(side * 0.09 + yaw, nose_y - 0.01), (side * 0.22 + yaw, mouth_y - 0.06)], 0.018, skin * 0.6)

    # Mouth: an upper and a lower lip between two corners, dark or toothed between them.
    half = 0.20 * (1 + 0.45 * e.mouth_width)
    open_h = max(0.0, 0.20 * e.mouth_open)
    upper, lower = [], []
    for t in np.linspace(-1, 1, 15):
        corner = -0.13 * e.smile * (t * t - 0.35)
        bow = 1 - t * t
        upper.append((t * half + yaw, mouth_y + corner - open_h * 0.45 * bow - 0.07 * max(0.0, e.upper_lip) * bow))
        lower.append((t * half + yaw, mouth_y + corner + open_h * 0.9 * bow))
    pen.polygon([at(*p) for p in upper + lower[::-1]], fill=_colour(np.array([60, 22, 24])))
    if e.smile > 0.4 and open_h > 0.02:
        teeth = [(x, y + 0.45 * (lower[i][1] - y)) for i, (x, y) in enumerate(upper)]
        pen.polygon([at(*p) for p in upper + teeth[::-1]], fill=(240, 236, 228))
    red = skin * [0.86, 0.58, 0.58]
    line(upper, lip, red)
    line(lower, lip * 1.15, red)
    return image


def _light_and_noise(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A gradient of light from one side, then the noise of a sensor."""
    pixels = np.asarray(picture, np.float32)
    angle, depth = rng.uniform(0, 2 * math.pi), rng.uniform(0.0, 0.25)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    light = rng.uniform(0.8, 1.15) * (1 + depth * (x * math.cos(angle) + y * math.sin(angle)))
    noise = rng.normal(0, rng.uniform(2, 9), pixels.shape)
    return Image.fromarray(np.clip(pixels * light[..., None] + noise, 0, 255).astype(np.uint8))


def _colour(rgb: np.ndarray) -> tuple[int, int, int]:
    r, g, b = np.clip(rgb, 0, 255).astype(int)
    return int(r), int(g), int(b)
