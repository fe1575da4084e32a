"""Imports codes that earlier scripts wrote into one file `<emotion>_<name>.pt` for each face.

Each file holds {"latent": [18, 512], "label": int, "img_path": str}. The files are untrusted: nothing in them is
executed. The emotion is taken from the name of the file, since the numbers are Kaggle's in files of some scripts and
alphabetical in those of others.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from fervit.encoders.fingerprint import UNKNOWN, EncoderFingerprint
from fervit.encoding.arrays import SMALLEST, SUFFIXES, LabelOrder, labels_of, read_arrays
from fervit.encoding.ray_data import Columns
from fervit.encoding.stages import names_of
from fervit.errors import UserError
from fervit.images.face_index import SCHEMA, FaceIndex
from fervit.images.folders import readable
from fervit.images.passed_over import NO_SPLIT, PassedOver, why_not
from fervit.images.pictures import pixels_sha256, read_picture, reason_of, resize
from fervit.labels.emotions import KAGGLE_EMOTIONS, split_of
from fervit.labels.label_set import SEVEN, LabelSet

STYLES, STYLE_DIM = (14, 16, 18), 512
SIZE = 256
"""The side of the input of pSp and e4e in pixels, to which a picture is resized before it is hashed."""


def index_pt(folder: str, label_order: LabelOrder | None = None, label_set: LabelSet = SEVEN) -> FaceIndex:
    """Lists the .pt files of a folder with subfolders train, val and test, or of a folder that is one split itself.

    The image_id of a file is `<split>/<emotion>/<name>`. A file may also hold the codes of a whole split (`arrays`).

    Args:
        folder: the folder, or a file that holds a whole split.
        label_order: the order of labels that are numbers in files that hold a whole split; None if it is not known.
        label_set: the classes.

    Raises:
        UserError: there is no such folder, it holds no .pt file, or two files have the same image_id.
    """
    root, files, splits = _opened(folder)
    rows, others = whole_splits(files, root, splits, label_order, label_set), []
    in_arrays = {row[3].rpartition("#")[0] for row in rows}
    for path in files:
        place = next((split for split in splits if path.is_relative_to(split)), None if splits else root)
        if str(path.absolute()) in in_arrays:
            continue
        reason = next((why for part in path.relative_to(root).parts if (why := why_not(part))), "")
        reason = reason or (LABELS_ONLY if in_arrays and re.search(r"(^|_)(labels|y)$", path.stem) else "")
        if reason or place is None or path.suffix.lower() != ".pt":
            others.append(PassedOver(readable(str(path.relative_to(root))), reason or (NO_CODE if place else NO_SPLIT)))
        else:
            rows.append(_row(path, root, place, label_set))
    if not rows:
        raise UserError(
            f"--from_pt {folder}: holds no .pt file; expected [train|val|test/]<emotion>_<name>.pt, or "
            "[train|val|test/]<emotion>/<name>.pt"
        )
    twice = [name for name, n in Counter(row[0] for row in rows).items() if n > 1]
    if twice:
        raise UserError(f"--from_pt {folder}: two files mean the same face, {twice[0]}; keep one of them")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(SCHEMA.names)}
    table = pa.table(columns, schema=SCHEMA)
    return FaceIndex(
        root=folder,
        kind="pt",
        table=table,
        filesystem=pafs.LocalFileSystem(),
        label_set=label_set,
        one_split=not splits and len({row[1] for row in rows}) == 1,
        passed_over=tuple(sorted(others)),
    )


NO_CODE, LABELS_ONLY = "no .pt file", "labels of another file"


def _opened(folder: str) -> tuple[Path, list[Path], list[Path]]:
    """The folder, its files, and its subfolders that are splits. A file stands for a folder with only this file."""
    root = Path(folder)
    if root.is_file():
        return root.absolute().parent, [root.absolute()], []
    if not root.is_dir():
        raise UserError(f"--from_pt {folder}: there is no such folder")
    files = sorted(path for path in root.rglob("*") if not path.is_dir())
    return root, files, [path for path in sorted(root.iterdir()) if path.is_dir() and split_of(path.name) is not None]


def _row(path: Path, root: Path, place: Path, label_set: LabelSet) -> tuple[str, str, int, str]:
    """The row of a file that holds the code of one face, in the split `place`."""
    emotion, name = _emotion_and_name(path, root, label_set)
    inside = readable(path.parent.relative_to(root).as_posix())  # the split, and folders below it
    source, split = str(path.absolute()), place.resolve().name
    return (
        name if inside == "." else f"{inside}/{name}",
        split_of(split) or split,
        -1 if emotion is None else label_set.index(emotion),
        source if source == readable(source) else "",
    )


def whole_splits(
    files: list[Path], root: Path, splits: list[Path], label_order: LabelOrder | None, label_set: LabelSet
) -> list[tuple[str, str, int, str]]:
    """The rows of the files that hold a whole split; the source of a row is `<path>#<number>`."""
    rows: list[tuple[str, str, int, str]] = []
    for path in files:
        if path.suffix.lower() not in SUFFIXES or path.stat().st_size < SMALLEST:
            continue
        try:
            arrays = read_arrays(str(path.absolute()))
        except UserError:
            if path.suffix.lower() == ".pt" and len(files) > 1 and "labels" not in path.stem:
                continue  # a damaged file of a single face is listed when it is read
            raise
        if arrays is None:
            continue
        place = next((split.name for split in splits if path.is_relative_to(split)), "")
        named = [split for part in re.split(r"[\W_]+", path.stem) if (split := split_of(part)) is not None]
        split = split_of(place) or (named[0] if named else split_of(root.resolve().name) or "train")
        labels = labels_of(arrays, str(path), label_order, label_set)
        ids = arrays.ids or [f"{i:06d}" for i in range(len(labels))]
        stem = readable(path.relative_to(root).with_suffix("").as_posix())
        rows += [
            (f"{stem}/{name}", split, label, f"{path.absolute()}#{i}")
            for i, (name, label) in enumerate(zip(ids, labels, strict=True))
        ]
    return rows


def _emotion_and_name(path: Path, root: Path, label_set: LabelSet) -> tuple[str | None, str]:
    """The class of a file, by its name or else by the folder that it lies in, and the end of its image_id."""
    stem = readable(path.stem)
    first, _, rest = stem.partition("_")
    emotion = label_set.class_of(first)
    if emotion is not None and rest:
        return emotion, f"{emotion}/{rest}"
    folder = path.parent
    while folder != root and label_set.class_of(folder.name) is None:
        folder = folder.parent
    return (label_set.class_of(folder.name) if folder != root else None), stem


def fingerprint_of_pt(index: FaceIndex, kind: str | None, checkpoint_sha256: str) -> EncoderFingerprint:
    """Makes the fingerprint of imported codes. Their shape is that of the first file that can be read.

    Args:
        index: from `index_pt`.
        kind: the encoder that made the codes, or None if the user does not name it.
        checkpoint_sha256: the SHA-256 of its checkpoint, or "" if it is not known.

    Raises:
        UserError: none of the files can be read.
    """
    reason = ""
    for source in index.table["source"].to_pylist():
        try:
            seq_len, latent_dim = _load(source)[0].shape
        except Exception as error:  # another file may be readable
            reason = reason or reason_of(error)
            continue
        return EncoderFingerprint(
            encoder=kind or UNKNOWN,
            checkpoint_sha256=checkpoint_sha256,
            seq_len=seq_len,
            latent_dim=latent_dim,
            size=SIZE,
            precision="float32",
            untrained=False,
            imported=True,
        )
    raise UserError(f"--from_pt {index.root}: not one file can be read; the first: {reason}")


def load_block(block: pa.Table, fingerprint: EncoderFingerprint, label_set: LabelSet = SEVEN) -> Columns:
    """Reads the codes of n rows of an index: the column `latent`, float16 [n, seq_len, latent_dim].

    A file that cannot be used has its reason in the column `error`, which is "" for the others.
    """
    shape = (fingerprint.seq_len, fingerprint.latent_dim)
    codes = np.zeros((len(block), *shape), np.float16)
    sha256, errors = [], []
    for i, (source, label) in enumerate(zip(block["source"].to_pylist(), block["label"].to_pylist(), strict=True)):
        try:
            if label < 0:
                raise ValueError(f"its name does not begin with one of {label_set}")
            code, number, picture = _load(source)
            if label_set == SEVEN and number not in (None, label, KAGGLE_EMOTIONS.index(SEVEN.classes[label])):
                raise ValueError(f"its label {number} contradicts its name: {SEVEN.classes[label]} is {label}")
            if code.shape != shape:
                raise ValueError(f"its latent is {list(code.shape)}, the others' {list(shape)}")
            with np.errstate(over="ignore"):
                codes[i] = code
            if not np.isfinite(codes[i]).all():
                raise ValueError("its latent has numbers that are not finite in float16")
            sha256.append(_hash(codes[i], picture))
            errors.append("")
        except Exception as error:  # whatever is wrong with one file must not stop the job
            codes[i] = 0
            sha256.append("")
            errors.append(reason_of(error))
    return {
        **names_of(block),
        "sha256": np.array(sha256, object),
        "latent": codes,
        "error": np.array(errors, object),
    }


def _load(path: str) -> tuple[np.ndarray, int | None, str]:
    """Reads the code [seq_len, latent_dim], its label or None, and the path of its picture or ""."""
    import torch

    from fervit.io.torch_files import load_untrusted

    if not path:
        raise ValueError("the file's name is not UTF-8: rename it")
    whole, sharp, row = path.rpartition("#")
    if sharp and row.isdigit() and not Path(path).is_file():
        arrays = read_arrays(whole)
        assert arrays is not None
        return _checked(np.asarray(arrays.codes[int(row)], np.float32)), None, ""
    content = load_untrusted(Path(path))
    latent = content.get("latent") if isinstance(content, dict) else None
    if not isinstance(latent, torch.Tensor) or latent.layout != torch.strided or not latent.is_floating_point():
        raise ValueError("it holds no tensor under 'latent'")
    latent = latent.detach().float()
    if latent.dim() == 3 and len(latent) == 1:
        latent = latent[0]
    label, picture = content.get("label"), content.get("img_path")
    if isinstance(label, torch.Tensor) and label.numel() == 1:
        label = label.item()
    return (
        _checked(latent.numpy()),
        label if isinstance(label, int) else None,
        picture if isinstance(picture, str) else "",
    )


def _checked(code: np.ndarray) -> np.ndarray:
    if code.ndim != 2 or len(code) not in STYLES or code.shape[1] != STYLE_DIM:
        raise ValueError(f"its latent is {list(code.shape)}; it must be [18, 512] ([16, 512], [14, 512])")
    return code


def _hash(code: np.ndarray, picture: str) -> str:
    """The SHA-256 of the picture's pixels if it can be read, as for faces that fervit encodes, else of the code."""
    if picture and Path(picture).is_file():
        try:
            pixels = resize(read_picture(pafs.LocalFileSystem(), str(Path(picture).absolute())), SIZE)
            return pixels_sha256(pixels)
        except Exception:  # the picture is broken, but the code is good
            pass
    return "code:" + hashlib.sha256(code.tobytes()).hexdigest()
