"""The pictures of what an audit found: contact sheets, and those that its page shows."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from fervit.auditing.codes import Codes
from fervit.auditing.findings import Finding, name_of_class
from fervit.auditing.pictures import Pictures, Rows
from fervit.errors import UserError
from fervit.images.face_index import FaceIndex
from fervit.latents.source import find_faces_of

SHOWN = 120
"""The number of pictures on a contact sheet at most."""
COLUMNS, SIDE, TEXT = 12, 96, 26
"""The pictures in a line of a sheet, the side of each in pixels, and the height of the text below it."""


def captions(finding: Finding, rows: Rows) -> dict[int, str]:
    """What is below each shown picture of a finding: its class, and what is special about it."""
    return {
        row: finding.captions.get(row) or f"{name_of_class(rows, row)}, {rows.splits[row]}" for row in finding.shown
    }


def read_shown(finding: Finding, rows: Rows, index: FaceIndex | None) -> dict[int, np.ndarray]:
    """Reads the pictures of a finding that are to be shown, at most `SHOWN`.

    Args:
        finding: the finding.
        rows: the data set that it is of.
        index: the data root; None for rows that are known by their codes, whose pictures are looked for where
            launch/encode.py read them.

    Returns:
        Each row -> its pixels, RGB uint8 [h, w, 3]; without those that cannot be read or found.
    """
    wanted = list(finding.shown)[:SHOWN]
    if isinstance(rows, Pictures) and index is not None:
        found: dict[int, np.ndarray] = {}
        for row in wanted:
            if row in rows.unreadable:
                continue
            try:
                found[row] = index.read(rows.sources[row])
            except Exception:  # it was moved or changed since it was looked at; pictures are optional
                continue
        return found
    return _of_codes(wanted, rows) if isinstance(rows, Codes) else {}


def draw_sheet(shown: dict[int, np.ndarray], rows: Rows, texts: dict[int, str]) -> bytes:
    """Draws the pictures of a finding on a sheet, each with its image id and a caption.

    Args:
        shown: each row -> its pixels.
        rows: the data set.
        texts: each row -> its caption.

    Returns:
        The content of a PNG file.
    """
    lines = -(-len(shown) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (SIDE + 8) + 8, lines * (SIDE + TEXT + 8) + 8), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (row, pixels) in enumerate(shown.items()):
        x, y = 8 + i % COLUMNS * (SIDE + 8), 8 + i // COLUMNS * (SIDE + TEXT + 8)
        sheet.paste(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, y))
        for j, text in enumerate((texts[row], _short(rows.image_ids[row]))):
            pen.text((x, y + SIDE + 1 + 12 * j), _fitting(pen, text), fill="black")
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _of_codes(wanted: Sequence[int], codes: Codes) -> dict[int, np.ndarray]:
    found: dict[int, np.ndarray] = {}
    for split, path in zip(dict.fromkeys(codes.splits.tolist()), codes.paths, strict=True):
        rows = [row for row in wanted if codes.splits[row] == split]
        try:
            pictures = find_faces_of(path, [codes.image_ids[row] for row in rows]) if rows else []
        except UserError:
            continue
        found |= {row: pixels for row, pixels in zip(rows, pictures, strict=True) if pixels is not None}
    return {row: found[row] for row in wanted if row in found}


def _short(image_id: str) -> str:
    return image_id.rpartition("/")[2]


def _fitting(pen: ImageDraw.ImageDraw, text: str) -> str:
    """The beginning of a text that is no wider than a picture, in the characters that PIL's own font has."""
    text = text.encode("latin-1", "replace").decode("latin-1")
    while text and pen.textlength(text) > SIDE + 4:
        text = text[:-1]
    return text
