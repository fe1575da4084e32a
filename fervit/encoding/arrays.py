"""Codes of a whole split in one file: latents.pt, .npy or .npz, with labels in it or beside it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np

from fervit.errors import UserError
from fervit.io.files import first_line
from fervit.labels.class_names import KEYS, as_plain, names_by_number
from fervit.labels.emotions import LABEL_OF_KAGGLE
from fervit.labels.label_set import SEVEN, LabelSet

SUFFIXES = (".pt", ".npy", ".npz")
LabelOrder = Literal["alphabetical", "kaggle"]
CODES = ("latents", "latent", "codes", "w_plus", "wplus", "w", "X", "x", "features", "embeddings", "data")
LABELS = ("labels", "label", "y", "Y", "targets", "target", "emotions")
IDS = ("image_ids", "ids", "img_paths", "paths", "filenames", "files", "names")
"""The keys under which scripts save codes [n, styles, 512], labels and the names of the pictures."""
STYLES, STYLE_DIM = (14, 16, 18), 512
SMALLEST = 200_000
"""Files of fewer bytes are a single code, of 37 kB in float32."""


@dataclass(frozen=True)
class Arrays:
    """The codes of a file, with the labels of their rows."""

    codes: np.ndarray
    """Of any float type, [n, styles, 512]."""
    labels: Sequence[Any] | None
    """A number or a name for each row; None if the file has none."""
    class_names: dict[int, str] | None
    """What the numbers mean, if the file says it."""
    ids: Sequence[str] | None


@lru_cache(maxsize=2)
def read_arrays(path: str) -> Arrays | None:
    """Reads a file; None if it holds no codes of several faces.

    Raises:
        UserError: the file cannot be read, or its codes have no labels.
    """
    columns = columns_of(content_of(Path(path)))
    codes = codes_in(columns)
    if codes is None or codes.ndim != 3 or len(codes) < 2:
        return None
    labels = labels_in(columns)
    labels = _beside(Path(path)) if labels is None else labels
    if labels is not None and (labels.ndim != 1 or len(labels) != len(codes)):
        raise UserError(f"{path}: holds {len(codes)} codes, but labels: {list(labels.shape)}; {PUT_LABELS}")
    ids = next((list(map(str, as_plain(columns[key]))) for key in IDS if key in columns), None)
    return Arrays(
        codes,
        None if labels is None else as_plain(labels),
        class_names_in(columns),
        ids if ids is not None and len(ids) == len(codes) else None,
    )


Columns = dict[str, Any]
"""What a file of codes holds, by its keys."""
PUT_LABELS = (
    "put one a code under 'labels' in it, or into <name>_labels.npy beside it, or the file into a folder named after "
    "its class"
)


def columns_of(content: Any) -> Columns:
    """What a file holds, by the keys under which scripts save it."""
    if isinstance(content, dict):
        return {str(key): value for key, value in content.items()}
    if isinstance(content, list | tuple) and content:
        if all(isinstance(one, dict) for one in content):  # a dict for each face
            keys = [key for key in content[0] if all(key in one for one in content)]
            return {str(key): [one[key] for one in content] for key in keys}
        first = _array(content[0])
        if len(content) == 2 and first is not None and first.ndim == 3:
            return {"latents": content[0], "labels": content[1]}
    return {"latents": content}


def codes_in(columns: Columns) -> np.ndarray | None:
    """The codes in a file, of any float type: [n, styles, 512], or [styles, 512] of one face; None if it has none."""
    codes = next((_array(columns[key]) for key in CODES if key in columns), None)
    if codes is None or codes.dtype.kind != "f" or codes.ndim < 2:
        return None
    if codes.ndim == 4 and codes.shape[1] == 1:
        codes = codes[:, 0]
    if codes.ndim == 2 and codes.shape[1] % STYLE_DIM == 0 and codes.shape[1] // STYLE_DIM in STYLES:
        codes = codes.reshape(len(codes), -1, STYLE_DIM)
    return codes


def labels_in(columns: Columns) -> np.ndarray | None:
    """The labels in a file, [n] or [] of one face: numbers or texts, also if it has them one-hot; None without any."""
    labels = next((_array(columns[key]) for key in LABELS if key in columns), None)
    if labels is None or labels.ndim != 2:
        return labels
    if labels.shape[1] == 1:
        return labels[:, 0]
    one_hot = labels.dtype.kind in "biuf" and np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()
    return labels.argmax(axis=1) if one_hot else labels


def class_names_in(columns: Columns) -> dict[int, str] | None:
    """What the numbers of classes mean, if a file says it."""
    keys = [key for key in columns if KEYS.fullmatch(key.lower()) and key not in LABELS]
    return next((names for key in keys if (names := names_by_number(columns[key])) is not None), None)


def labels_of(
    arrays: Arrays,
    path: str,
    order: LabelOrder | None,
    label_set: LabelSet = SEVEN,
    of_folder: str | None = None,
) -> list[int]:
    """The labels of the rows in fervit's order.

    Args:
        arrays: the content of the file.
        path: the file, for messages.
        order: the order of numbers, which the user knows; None if they have not said it.
        label_set: the classes.
        of_folder: the class that the folder or the name of the file means, which counts where the file says no class.

    Raises:
        UserError: there are no labels, they are numbers and nothing says which, or one of them means no class.
    """
    if arrays.labels is None:
        if of_folder is None:
            raise UserError(f"{path}: holds {len(arrays.codes)} codes, but labels: none; {PUT_LABELS}")
        return [label_set.index(of_folder)] * len(arrays.codes)
    if all(isinstance(label, str) for label in arrays.labels):
        return _of_names(arrays.labels, path, label_set)
    if not all(isinstance(label, int | float) and float(label).is_integer() for label in arrays.labels):
        raise UserError(f"{path}: has labels that are neither all names nor all whole numbers")
    numbers = [int(label) for label in arrays.labels]
    if arrays.class_names is not None:
        unnamed = next((number for number in numbers if number not in arrays.class_names), None)
        if unnamed is not None:
            raise UserError(f"{path}: has the label {unnamed}, which is none of its classes {arrays.class_names}")
        return _of_names([arrays.class_names[number] for number in numbers], path, label_set)
    if order is None and of_folder is not None:
        return [label_set.index(of_folder)] * len(arrays.codes)
    if not all(0 <= number < len(label_set) for number in numbers):
        raise UserError(f"{path}: has labels that are no whole numbers in 0..{len(label_set) - 1}")
    if order == "kaggle" and label_set != SEVEN:
        raise UserError(f"{path}: --label_order kaggle is of the seven emotions, but --labels are {label_set}")
    if order is None:
        raise UserError(
            f"{path}: its labels are numbers, which scripts give in two orders; say by --label_order: alphabetical "
            "(4 is neutral, as for class folders) or kaggle (4 is sad, as in fer2013.csv)"
        )
    return [number if order == "alphabetical" else LABEL_OF_KAGGLE[number] for number in numbers]


def _of_names(names: Sequence[str], path: str, label_set: LabelSet) -> list[int]:
    classes = {name: label_set.class_of(name) for name in set(names)}
    unknown = next((name for name in names if classes[name] is None), None)
    if unknown is not None:
        raise UserError(f"{path}: label '{unknown}' is not one of {label_set}")
    return [label_set.index(str(classes[name])) for name in names]


def content_of(path: Path) -> Any:
    """What a .pt, .npy or .npz file holds.

    Raises:
        UserError: it cannot be read, or holds other than plain values.
    """
    from fervit.io.torch_files import load_untrusted

    if path.suffix.lower() not in (".npy", ".npz"):
        return load_untrusted(path)
    try:
        found = np.load(path, allow_pickle=False, mmap_mode="r")
        return dict(found) if isinstance(found, np.lib.npyio.NpzFile) else found
    except (ValueError, OSError, EOFError, KeyError, BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path}: is no NumPy file of plain numbers that can be read ({first_line(error)}); copy it again"
        ) from None


def _array(value: Any) -> np.ndarray | None:
    """A tensor, an array or a list of these as an array; None if it is none."""
    if isinstance(value, list | tuple) and value and hasattr(value[0], "numpy"):
        parts = [_array(one) for one in value]
        same = all(one is not None and parts[0] is not None and one.shape == parts[0].shape for one in parts)
        return np.stack(parts) if same else None  # type: ignore[arg-type]
    if hasattr(value, "detach"):
        if str(value.layout) != "torch.strided":
            return None
        return np.asarray(value.detach().float() if value.is_floating_point() else value.detach())
    try:
        found = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    except ValueError:  # lists of different lengths
        return None
    return np.asarray(as_plain(found)) if found.dtype.kind in "SO" else found


def _beside(path: Path) -> np.ndarray | None:
    """The labels in a file beside the codes."""
    stems = [f"{path.stem}_labels", path.stem.replace("latents", "labels").replace("codes", "labels"), "labels", "y"]
    for stem in stems:
        for suffix in SUFFIXES:
            other = path.with_name(stem + suffix)
            if other != path and other.is_file():
                content = content_of(other)
                return labels_in(columns_of(content) if isinstance(content, dict) else {"labels": content})
    return None
