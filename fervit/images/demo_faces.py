"""Draws faces with the seven emotions for the demo and the tests. They show no real person.

The drawings have the moving parts of a real face, after the action units of Ekman and Friesen's Facial Action Coding
System (1978): brows, eyes, lids, nose, cheeks and mouth follow the emotion. Identity, pose, light and noise vary from
face to face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fervit.io.disk import remove, sync_folder
from fervit.io.files import whole_file
from fervit.labels.emotions import EMOTIONS
from fervit.progress import Progress, Say

SIZE = 96
"""The side of a face picture in pixels."""
_CANVAS = 3 * SIZE
"""The side of the drawing in pixels. It is shrunk to `SIZE`, which smooths its edges."""


@dataclass(frozen=True, kw_only=True)
class Expression:
    """How far each part of the face moves: 0 is at rest, 1 is about as far as it can go."""

    brow_raise: float = 0.0
    inner_brow: float = 0.0
    """Positive values slant the brows as in grief, negative values as in anger."""
    eye_open: float = 0.0
    cheeks: float = 0.0
    nose_wrinkle: float = 0.0
    smile: float = 0.0
    """Positive values raise the corners of the mouth, negative values lower them."""
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
    """Draws a random face with an emotion, RGB, SIZE x SIZE pixels."""
    at_rest = EXPRESSIONS[emotion]
    strength = rng.uniform(0.75, 1.15)
    moved = {
        name: value * strength * rng.uniform(0.8, 1.2) + rng.normal(0, 0.06) for name, value in vars(at_rest).items()
    }
    sharp = _draw(replace(at_rest, **moved), rng)
    picture = sharp.rotate(rng.uniform(-6, 6), Image.Resampling.BICUBIC, fillcolor=sharp.getpixel((2, 2)))
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 2.5))).resize((SIZE, SIZE), Image.Resampling.BOX)
    return _light_and_noise(picture, rng)


def write_demo_faces(output_dir: Path, per_class: dict[str, int], seed: int, say: Say | None = None) -> int:
    """Writes OUTPUT/<split>/<emotion>/face_<i>.png. The same seed gives the same faces.

    Args:
        output_dir: the folder OUTPUT. Faces of an earlier call in it are deleted.
        per_class: the number of faces of each emotion in each split.
        seed: the seed of the faces.
        say: shows the progress (`fervit.progress.Progress`); None for silence.

    Returns:
        The number of faces.
    """
    for old in output_dir.glob("*/*/face_*.png"):
        remove(old)  # an earlier call may have written more
    written = 0
    progress = Progress(len(EMOTIONS) * sum(per_class.values()), "faces", "drawing", say)
    for s, (split, n) in enumerate(per_class.items()):
        for label, emotion in enumerate(EMOTIONS):
            for i in range(n):
                picture = draw_face(emotion, np.random.default_rng([seed, s, label, i]))
                with whole_file(output_dir / split / emotion / f"face_{i:03d}.png", one_of_many=True) as aside:
                    picture.save(aside, format="PNG")
                written += 1
                progress.add(1)
            sync_folder(output_dir / split / emotion)
    progress.close()
    return written


def contact_sheet(rows: int, seed: int) -> Image.Image:
    """Draws `rows` faces of each emotion into one picture, with a column for each emotion."""
    sheet = Image.new("RGB", (SIZE * len(EMOTIONS), SIZE * rows))
    for label, emotion in enumerate(EMOTIONS):
        for i in range(rows):
            sheet.paste(draw_face(emotion, np.random.default_rng([seed, label, i])), (label * SIZE, i * SIZE))
    return sheet


@dataclass(frozen=True, kw_only=True)
class _Person:
    """What differs from person to person, in units of half the canvas; colours are RGB, 0..255."""

    scale: float
    """The length of the unit in pixels."""
    shift: np.ndarray
    """The position (x, y) of the middle of the face."""
    yaw: float
    """How far the parts of the face are moved sideways, as when the head is turned."""
    skin: np.ndarray
    hair: np.ndarray
    background: np.ndarray
    head_w: float
    head_h: float
    eye_x: float
    eye_y: float
    eye_r: float
    mouth_y: float
    lip: float
    """The thickness of the upper lip."""
    brow_w: float
    """The thickness of the brows."""
    hair_h: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> _Person:
        """Draws a person. The order of the draws decides the faces of a seed."""
        return cls(
            scale=_CANVAS / 2 * rng.uniform(0.92, 1.05),
            shift=rng.uniform(-0.035, 0.035, 2),
            yaw=rng.uniform(-0.06, 0.06),
            skin=np.array([224, 172, 138]) * rng.uniform(0.45, 1.1) * rng.uniform(0.94, 1.06, 3),
            hair=np.array([70, 48, 34]) * rng.uniform(0.3, 2.4),
            background=rng.uniform(90, 190) + rng.uniform(-30, 30, 3),
            head_w=rng.uniform(0.56, 0.68),
            head_h=rng.uniform(0.74, 0.84),
            eye_x=rng.uniform(0.24, 0.30),
            eye_y=rng.uniform(-0.20, -0.12),
            eye_r=rng.uniform(0.085, 0.11),
            mouth_y=rng.uniform(0.40, 0.48),
            lip=rng.uniform(0.035, 0.055),
            brow_w=rng.uniform(0.030, 0.055),
            hair_h=rng.uniform(0.12, 0.28),
        )


class _Pen:
    """Draws in units of half the canvas: x to the right, y down, the middle of the face at (0, 0)."""

    def __init__(self, person: _Person) -> None:
        self.image = Image.new("RGB", (_CANVAS, _CANVAS), _colour(person.background))
        self._pen = ImageDraw.Draw(self.image)
        self._scale, self._shift = person.scale, person.shift

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: np.ndarray) -> None:
        """Fills an ellipse around (x, y)."""
        rx, ry = max(rx, 0.004), max(ry, 0.004)
        self._pen.ellipse([self._at(x - rx, y - ry), self._at(x + rx, y + ry)], fill=_colour(colour))

    def chord(self, x: float, y: float, rx: float, ry: float, degrees: tuple[int, int], colour: np.ndarray) -> None:
        """Fills the part of an ellipse around (x, y) that a straight line between two angles cuts off."""
        self._pen.chord([self._at(x - rx, y - ry), self._at(x + rx, y + ry)], *degrees, fill=_colour(colour))

    def line(self, points: list[tuple[float, float]], width: float, colour: np.ndarray) -> None:
        """Draws a line through some points, with round ends."""
        pixels = max(1, round(width * self._scale))
        self._pen.line([self._at(*p) for p in points], fill=_colour(colour), width=pixels, joint="curve")
        for x, y in (points[0], points[-1]):
            self.ellipse(x, y, width / 2, width / 2, colour)

    def polygon(self, points: list[tuple[float, float]], colour: np.ndarray) -> None:
        """Fills a polygon."""
        self._pen.polygon([self._at(*p) for p in points], fill=_colour(colour))

    def _at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a point in pixels."""
        return _CANVAS / 2 + (x + self._shift[0]) * self._scale, _CANVAS / 2 + (y + self._shift[1]) * self._scale


def _draw(e: Expression, rng: np.random.Generator) -> Image.Image:
    """Draws a person with an expression, sharp and evenly lit, on the whole canvas."""
    person = _Person.random(rng)
    pen = _Pen(person)
    for draw_part in (_draw_head, _draw_cheeks, _draw_eyes, _draw_brows, _draw_nose, _draw_mouth):
        draw_part(pen, person, e)
    return pen.image


def _draw_head(pen: _Pen, person: _Person, _: Expression) -> None:
    """Draws hair, ears and the head."""
    pen.ellipse(0, -0.12, person.head_w * 1.12, person.head_h * 0.95 + person.hair_h * 0.3, person.hair)
    for side in (-1, 1):
        pen.ellipse(side * person.head_w, 0.0, 0.08, 0.14, person.skin * 0.9)
    pen.ellipse(0, 0.03, person.head_w, person.head_h, person.skin)
    pen.chord(0, 0.03, person.head_w, person.head_h, (222, 318), person.hair)


def _draw_cheeks(pen: _Pen, person: _Person, e: Expression) -> None:
    """Draws raised cheeks, which show a fold below the eyes and a blush."""
    for side in (-1, 1):
        if e.cheeks > 0.2:
            pen.ellipse(side * 0.36 + person.yaw, 0.16, 0.12, 0.09 * e.cheeks, person.skin * [1.08, 0.86, 0.84])
            fold = [
                (side * (0.17 + 0.11 * t) + person.yaw, 0.02 + 0.04 * math.sin(t * math.pi))
                for t in np.linspace(0, 1, 7)
            ]
            pen.line(fold, 0.014, person.skin * 0.75)


def _draw_eyes(pen: _Pen, person: _Person, e: Expression) -> None:
    """Draws eyes and upper lids."""
    opening = max(0.12, 1 + 0.75 * e.eye_open)
    eye_r, eye_y = person.eye_r, person.eye_y
    for side in (-1, 1):
        x = side * person.eye_x + person.yaw
        pen.ellipse(x, eye_y, eye_r * 1.35, eye_r * 0.8 * opening, np.array([245, 243, 238]))
        iris = min(eye_r * 0.62, eye_r * 0.8 * opening)
        pen.ellipse(x + person.yaw * 0.2, eye_y, iris, iris, person.hair * 0.8 + [10, 20, 30])
        lid = [
            (x + eye_r * 1.4 * math.cos(t), eye_y - eye_r * 0.8 * opening * math.sin(t))
            for t in np.linspace(0, math.pi, 9)
        ]
        pen.line(lid, 0.022, person.skin * 0.42)


def _draw_brows(pen: _Pen, person: _Person, e: Expression) -> None:
    """Draws each brow through five points, from the inner end to the outer."""
    for side in (-1, 1):
        brow = []
        for t in np.linspace(0, 1, 5):
            arch = 0.05 * math.sin(t * math.pi) * (1 + 0.5 * max(0.0, e.brow_raise))
            slant = 0.11 * e.inner_brow * (0.6 - t)
            y = person.eye_y - 0.19 - 0.11 * e.brow_raise - arch - slant
            squeeze = 0.03 * max(0.0, -e.inner_brow) * (1 - t)
            brow.append((side * (person.eye_x - 0.13 - squeeze + 0.27 * t) + person.yaw, y))
        pen.line(brow, person.brow_w, person.hair * 0.6)


def _draw_nose(pen: _Pen, person: _Person, e: Expression) -> None:
    """Draws the nose, with wrinkles at its root if it is drawn up."""
    yaw, eye_y, skin = person.yaw, person.eye_y, person.skin
    nose_y = 0.20 - 0.04 * e.nose_wrinkle
    bridge = [(yaw * 1.3 - 0.01, eye_y + 0.08), (yaw * 1.8 + 0.05, nose_y), (yaw * 1.5 - 0.03, nose_y + 0.02)]
    pen.line(bridge, 0.016, skin * 0.7)
    if e.nose_wrinkle > 0.25:
        for k in range(3):
            y = eye_y + 0.03 + 0.055 * k
            wrinkle = [(yaw - 0.07, y + 0.02), (yaw, y - 0.02), (yaw + 0.07, y + 0.02)]
            pen.line(wrinkle, 0.018 * e.nose_wrinkle, skin * 0.55)
        for side in (-1, 1):
            fold = [(side * 0.09 + yaw, nose_y - 0.01), (side * 0.22 + yaw, person.mouth_y - 0.06)]
            pen.line(fold, 0.018, skin * 0.6)


def _draw_mouth(pen: _Pen, person: _Person, e: Expression) -> None:
    """Draws an upper and a lower lip between the two corners of the mouth, with darkness or teeth between them."""
    half = 0.20 * (1 + 0.45 * e.mouth_width)
    open_h = max(0.0, 0.20 * e.mouth_open)
    upper, lower = [], []
    for t in np.linspace(-1, 1, 15):
        x = t * half + person.yaw
        corner = -0.13 * e.smile * (t * t - 0.35)
        bow = 1 - t * t
        upper.append((x, person.mouth_y + corner - open_h * 0.45 * bow - 0.07 * max(0.0, e.upper_lip) * bow))
        lower.append((x, person.mouth_y + corner + open_h * 0.9 * bow))
    pen.polygon(upper + lower[::-1], np.array([60, 22, 24]))
    if e.smile > 0.4 and open_h > 0.02:
        teeth = [(x, y + 0.45 * (lower[i][1] - y)) for i, (x, y) in enumerate(upper)]
        pen.polygon(upper + teeth[::-1], np.array([240, 236, 228]))
    red = person.skin * [0.86, 0.58, 0.58]
    pen.line(upper, person.lip, red)
    pen.line(lower, person.lip * 1.15, red)


def _light_and_noise(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Adds a gradient of light from one side, and the noise of a sensor."""
    pixels = np.asarray(picture, np.float32)
    angle, depth = rng.uniform(0, 2 * math.pi), rng.uniform(0.0, 0.25)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    light = rng.uniform(0.8, 1.15) * (1 + depth * (x * math.cos(angle) + y * math.sin(angle)))
    noise = rng.normal(0, rng.uniform(2, 9), pixels.shape)
    return Image.fromarray(np.clip(pixels * light[..., None] + noise, 0, 255).astype(np.uint8))


def _colour(rgb: np.ndarray) -> tuple[int, int, int]:
    """Clips an RGB colour to 0..255."""
    r, g, b = np.clip(rgb, 0, 255).astype(int)
    return int(r), int(g), int(b)
