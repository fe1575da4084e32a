"""Codes of a whole split in one file: latents.pt, .npy or .npz, with labels in it or beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fervit.errors import UserError
from fervit.labels.emotions import LABEL_OF_KAGGLE
from fervit.labels.label_set import SEVEN, LabelSet

SUFFIXES = (".pt", ".npy", ".npz")
LabelOrder = Literal["alphabetical", "kaggle"]
CODES = ("latents", "codes", "w_plus", "wplus", "latent", "w", "X", "x", "features", "embeddings", "data")
LABELS = ("labels", "label", "y", "Y", "targets", "target", "emotions")
NAMES = ("class_names", "classes")
IDS = ("image_ids", "ids", "img_paths", "paths", "filenames", "files", "names")
"""The keys under which scripts save codes [n, styles, 512], labels, names of the classes and of the pictures."""
SMALLEST = 200_000
"""Files of fewer bytes are a single code, of 37 kB in float32."""


@dataclass(frozen=True)
class Arrays:
    """The codes of a file, with the labels of their rows."""

    codes: np.ndarray
    """Of any float type, [n, styles, 512]."""
    labels: Sequence[Any]
    """A number or a name for each row."""
    class_names: Sequence[str] | None
    ids: Sequence[str] | None


@lru_cache(maxsize=2)
def read_arrays(path: str) -> Arrays | None:
    """Reads a file; None if it holds no codes of several faces.

    Raises:
        UserError: the file cannot be read, or its codes have no labels.
    """
    content = _content(Path(path))
    columns = content if isinstance(content, dict) else {"latents": content}
    codes = next((_array(columns[key]) for key in CODES if key in columns), None)
    if codes is None or codes.ndim != 3 or len(codes) < 2 or codes.dtype.kind != "f":
        return None
    labels = next((_array(columns[key]) for key in LABELS if key in columns), None)
    labels = _beside(Path(path)) if labels is None else labels
    if labels is None or labels.ndim != 1 or len(labels) != len(codes):
        found = "none" if labels is None else f"{list(labels.shape)}"
        raise UserError(
            f"{path}: holds {len(codes)} codes, but labels: {found}; put one a code under 'labels' in it, or into "
            f"{Path(path).stem}_labels.npy beside it"
        )
    names = next((list(map(str, columns[key])) for key in NAMES if isinstance(columns.get(key), list | tuple)), None)
    ids = next((list(map(str, columns[key])) for key in IDS if key in columns), None)
    return Arrays(codes, labels.tolist(), names, ids if ids is not None and len(ids) == len(codes) else None)


def labels_of(arrays: Arrays, path: str, order: LabelOrder | None, label_set: LabelSet = SEVEN) -> list[int]:
    """The labels of the rows in fervit's order.

    Args:
        arrays: the content of the file.
        path: the file, for messages.
        order: the order of numbers, which the user knows; None if they have not said it.
        label_set: the classes.

    Raises:
        UserError: the labels are numbers and nothing says which, or one of them means no class.
    """
    if all(isinstance(label, str) for label in arrays.labels):
        meant = [label_set.class_of(label) for label in arrays.labels]
        unknown = next((name for name, emotion in zip(arrays.labels, meant, strict=True) if emotion is None), None)
        if unknown is not None:
            raise UserError(f"{path}: label '{unknown}' is not one of {label_set}")
        return [label_set.index(str(emotion)) for emotion in meant]
    if any(label != int(label) or not 0 <= label < len(label_set) for label in arrays.labels):
        raise UserError(f"{path}: has labels that are no whole numbers in 0..{len(label_set) - 1}")
    if arrays.class_names is not None:
        named = [label_set.class_of(name) for name in arrays.class_names]
        if sorted(map(str, named)) != sorted(label_set.classes):
            raise UserError(f"{path}: its classes are {', '.join(arrays.class_names)}, not {label_set}")
        return [label_set.index(str(named[int(label)])) for label in arrays.labels]
    if order == "kaggle" and label_set != SEVEN:
        raise UserError(f"{path}: --label_order kaggle is of the seven emotions, but --labels are {label_set}")
    if order is None:
        raise UserError(
            f"{path}: its labels are numbers, which scripts give in two orders; say by --label_order: alphabetical "
            "(4 is neutral, as for class folders) or kaggle (4 is sad, as in fer2013.csv)"
        )
    return [int(label) if order == "alphabetical" else LABEL_OF_KAGGLE[int(label)] for label in arrays.labels]


def _content(path: Path) -> Any:
    from fervit.io.torch_files import load_untrusted

    if path.suffix.lower() == ".pt":
        return load_untrusted(path)
    try:
        found = np.load(path, allow_pickle=False, mmap_mode="r")
        return dict(found) if isinstance(found, np.lib.npyio.NpzFile) else found
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: is no NumPy file of plain numbers that can be read ({error})") from None


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        return np.asarray(value.detach().float() if value.is_floating_point() else value.detach())
    return np.asarray(value)


def _beside(path: Path) -> np.ndarray | None:
    """The labels in a file beside the codes."""
    stems = [f"{path.stem}_labels", path.stem.replace("latents", "labels").replace("codes", "labels"), "labels", "y"]
    for stem in stems:
        for suffix in SUFFIXES:
            other = path.with_name(stem + suffix)
            if other != path and other.is_file():
                content = _content(other)
                if isinstance(content, dict):
                    content = next((content[key] for key in LABELS if key in content), None)
                return None if content is None else _array(content)
    return None
