"""Reads the code of one face from a file of an earlier script: .pt, .npy or .npz."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs

from fervit.encoding.arrays import (
    STYLE_DIM,
    STYLES,
    SUFFIXES,
    Arrays,
    LabelOrder,
    class_names_in,
    codes_in,
    columns_of,
    content_of,
    labels_in,
    labels_of,
    read_arrays,
)
from fervit.errors import UserError
from fervit.images.pictures import pixels_sha256, read_picture, resize
from fervit.labels.class_names import as_plain
from fervit.labels.label_set import SEVEN, LabelSet

SIZE = 256
"""The side of the input of pSp and e4e in pixels, to which a picture is resized before it is hashed."""


def holds_code(path: Path) -> bool:
    """Whether a file may hold the code of one face: a .pt file, or an array of that shape."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    if path.suffix.lower() == ".pt":
        return True
    try:
        code = codes_in(columns_of(content_of(path)))
    except UserError:
        return False
    return code is not None and code.ndim - (len(code) == 1) == 2


def label_inside(path: Path, label_order: LabelOrder | None, label_set: LabelSet) -> int:
    """The label that a file has in it, if neither its name nor its folder says a class; -1 if it is not known."""
    try:
        columns = columns_of(content_of(path))
        label = labels_in(columns)
        if label is None or label.size != 1:
            return -1
        alone = Arrays(np.zeros(1), as_plain(label.reshape(1)), class_names_in(columns), None)
        return labels_of(alone, str(path), label_order, label_set)[0]
    except UserError:  # a damaged file is listed when it is read
        return -1


def load_code(path: str) -> tuple[np.ndarray, int | None, str]:
    """Reads the code [seq_len, latent_dim], its label or None, and the path of its picture or ""."""
    if not path:
        raise ValueError("the file's name is not UTF-8: rename it")
    whole, sharp, row = path.rpartition("#")
    if sharp and row.isdigit() and not Path(path).is_file():
        arrays = read_arrays(whole)
        assert arrays is not None
        return _checked(np.asarray(arrays.codes[int(row)], np.float32)), None, ""
    content = content_of(Path(path))
    columns = columns_of(content)
    latent = codes_in(columns)
    if latent is None:
        raise ValueError("it holds no tensor under 'latent'")
    if latent.ndim == 3 and len(latent) == 1:
        latent = latent[0]
    found, picture = labels_in(columns), columns.get("img_path")
    label = found.item() if found is not None and found.size == 1 else None
    return (
        _checked(np.asarray(latent, np.float32)),
        label if isinstance(label, int) else None,
        picture if isinstance(picture, str) else "",
    )


def why_unknown(source: str, label_set: LabelSet) -> str:
    """Why the class of a file is not known."""
    reason = f"its name does not begin with one of {label_set}"
    if label_set == SEVEN and any(part.partition("_")[0].isdecimal() for part in Path(source).parts[-2:]):
        reason += " (numbers are read once --label_order says whose they are)"
    label = labels_in(columns_of(content_of(Path(source)))) if source else None
    if label is None or label.size != 1:
        return reason
    number = label.dtype.kind in "iuf"
    how = "a number: say by --label_order whose it is" if number else "none of these either"
    return f"{reason}, and its label {label.item()!r} is {how}"


def _checked(code: np.ndarray) -> np.ndarray:
    if code.ndim != 2 or len(code) not in STYLES or code.shape[1] != STYLE_DIM:
        raise ValueError(f"its latent is {list(code.shape)}; it must be [18, 512] ([16, 512], [14, 512])")
    return code


def hash_of(code: np.ndarray, picture: str) -> str:
    """The SHA-256 of the picture's pixels if it can be read, as for faces that fervit encodes, else of the code."""
    if picture and Path(picture).is_file():
        try:
            pixels = resize(read_picture(pafs.LocalFileSystem(), str(Path(picture).absolute())), SIZE)
            return pixels_sha256(pixels)
        except Exception:  # the picture is broken, but the code is good
            pass
    return "code:" + hashlib.sha256(code.tobytes()).hexdigest()
