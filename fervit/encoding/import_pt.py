"""Imports codes that earlier scripts wrote into one file `<emotion>_<name>.pt` for each face.

Each file holds {"latent": [18, 512], "label": int, "img_path": str}. The files are untrusted: nothing in them is
executed. The emotion is taken from the name of the file, since the numbers are Kaggle's in files of some scripts and
alphabetical in those of others.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from fervit.encoders.fingerprint import UNKNOWN, EncoderFingerprint
from fervit.encoding.arrays import (
    CODES,
    SMALLEST,
    SUFFIXES,
    LabelOrder,
    labels_of,
    read_arrays,
)
from fervit.encoding.one_code import SIZE, hash_of, holds_code, label_inside, load_code, why_unknown
from fervit.encoding.ray_data import Columns
from fervit.encoding.stages import names_of
from fervit.errors import UserError
from fervit.images.face_index import SCHEMA, FaceIndex
from fervit.images.layouts.listing import list_folder, readable
from fervit.images.passed_over import NO_SPLIT, PassedOver, brief
from fervit.images.pictures import reason_of
from fervit.labels.emotions import EMOTIONS, KAGGLE_EMOTIONS, emotion_of, split_of
from fervit.labels.label_set import SEVEN, LabelSet


def index_pt(folder: str, label_order: LabelOrder | None = None, label_set: LabelSet = SEVEN) -> FaceIndex:
    """Lists the .pt files of a folder with subfolders train, val and test, or of a folder that is one split itself.

    The image_id of a file is `<split>/<emotion>/<name>`. A file may also hold the codes of a whole split (`arrays`).

    Args:
        folder: the folder, or a file that holds a whole split.
        label_order: the order of labels that are numbers, in files or in their names; None if it is not known.
        label_set: the classes.

    Raises:
        UserError: there is no such folder, it holds no .pt file, or two files have the same image_id.
    """
    root, files, splits, others = _opened(folder)
    by_name = _by_name(label_set, label_order)
    rows = whole_splits(files, root, splits, label_order, by_name)
    in_arrays = {row[3].rpartition("#")[0] for row in rows}
    for path in files:
        place = next((split for split in splits if path.is_relative_to(split)), None if splits else root)
        if str(path.absolute()) in in_arrays:
            continue
        reason = LABELS_ONLY if in_arrays and re.search(r"(^|_)(labels|y)$", path.stem) else ""
        if reason or place is None or not holds_code(path):
            others.append(PassedOver(readable(str(path.relative_to(root))), reason or (NO_CODE if place else NO_SPLIT)))
        else:
            rows.append(_row(path, root, place, by_name, label_order))
    if not rows:
        there = f" ({brief(others)})" if others else ""
        raise UserError(
            f"--from_pt {folder}: holds no .pt file{there}; expected [train|val|test/]<emotion>_<name>.pt, or "
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


def _opened(folder: str) -> tuple[Path, list[Path], list[Path], list[PassedOver]]:
    """The folder, its files, its subfolders that are splits, and the files that are passed over by their names.

    A file stands for a folder with only this file.
    """
    root = Path(folder)
    if root.is_file():
        return root.absolute().parent, [root.absolute()], [], []
    if not root.is_dir():
        raise UserError(f"--from_pt {folder}: there is no such folder")
    try:
        listing = list_folder(folder, pafs.LocalFileSystem(), folder)
    except UserError as error:
        raise UserError(str(error).replace("--data_root", "--from_pt")) from None
    files = [root / name for name in listing.files]
    top = [entry.path for entry in listing.entries if entry.is_folder and "/" not in entry.path]
    return root, files, [root / name for name in top if split_of(name) is not None], listing.passed_over


def _row(
    path: Path, root: Path, place: Path, label_set: LabelSet, label_order: LabelOrder | None
) -> tuple[str, str, int, str]:
    """The row of a file that holds the code of one face, in the split `place`."""
    emotion, name = _emotion_and_name(path, root, label_set)
    inside = readable(path.parent.relative_to(root).as_posix())  # the split, and folders below it
    source, split = str(path.absolute()), place.resolve().name
    other = any(emotion_of(said) is not None for said in (path.stem.partition("_")[0], path.parent.name))
    if emotion is not None:
        label = label_set.index(emotion)
    else:  # contempt_1.pt is none of the seven, whatever number it has in it
        label = -1 if other else label_inside(path, label_order, label_set)
    return (
        name if inside == "." else f"{inside}/{name}",
        split_of(place.name) or split_of(split) or split,
        label,
        source if source == readable(source) else "",
    )


def whole_splits(
    files: list[Path], root: Path, splits: list[Path], label_order: LabelOrder | None, label_set: LabelSet
) -> list[tuple[str, str, int, str]]:
    """The rows of the files that hold a whole split; the source of a row is `<path>#<number>`."""
    rows: list[tuple[str, str, int, str]] = []
    for path in files:
        if not _may_hold_several(path, label_set):
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
        of_folder = _emotion_and_name(path, root, label_set)[0]
        labels = labels_of(arrays, str(path), label_order, label_set, of_folder)
        ids = arrays.ids or [f"{i:06d}" for i in range(len(labels))]
        stem = readable(path.relative_to(root).with_suffix("").as_posix())
        rows += [
            (f"{stem}/{name}", split, label, f"{path.absolute()}#{i}")
            for i, (name, label) in enumerate(zip(ids, labels, strict=True))
        ]
    return rows


def _may_hold_several(path: Path, label_set: LabelSet) -> bool:
    """Whether a file may hold several codes, by its size or, if these are few, by its name."""
    stem = path.stem.lower()
    if path.suffix.lower() not in SUFFIXES or not path.is_file():  # a link may lead nowhere
        return False
    named = (
        stem in CODES
        or split_of(stem) is not None
        or (label_set.class_of(path.stem) is not None and not stem.isdecimal())
    )
    return path.stat().st_size >= SMALLEST or named


def _emotion_and_name(path: Path, root: Path, label_set: LabelSet) -> tuple[str | None, str]:
    """The class of a file, by its name or else by the folder that it lies in, and the end of its image_id."""
    stem = readable(path.stem)
    first, _, rest = stem.partition("_")
    second, _, last = rest.partition("_")
    if first.isdecimal() and last and (emotion := label_set.class_of(second)) is not None:  # 4_neutral_001
        return emotion, f"{emotion}/{first}_{last}"
    emotion = label_set.class_of(first)
    if emotion is not None and rest:
        return emotion, f"{emotion}/{rest}"
    folder = path.parent
    while folder != root and label_set.class_of(folder.name) is None:
        folder = folder.parent
    of_folder = label_set.class_of(folder.name) if folder != root else None
    return of_folder or (None if stem.isdecimal() else label_set.class_of(path.stem)), stem


def _by_name(label_set: LabelSet, label_order: LabelOrder | None) -> LabelSet:
    """The label set by which names of files and folders are understood.

    Numbers in them are those of the seven emotions only once their order is known.
    """
    if label_set is not SEVEN:
        return label_set
    names = {"alphabetical": EMOTIONS, "kaggle": KAGGLE_EMOTIONS, None: ()}[label_order]
    return replace(label_set, name="by name", numbers=dict(enumerate(names)))


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
            seq_len, latent_dim = load_code(source)[0].shape
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
                raise ValueError(why_unknown(source, label_set))
            code, number, picture = load_code(source)
            if label_set == SEVEN and number not in (None, label, KAGGLE_EMOTIONS.index(SEVEN.classes[label])):
                raise ValueError(f"its label {number} contradicts its name: {SEVEN.classes[label]} is {label}")
            if code.shape != shape:
                raise ValueError(f"its latent is {list(code.shape)}, the others' {list(shape)}")
            with np.errstate(over="ignore"):
                codes[i] = code
            if not np.isfinite(codes[i]).all():
                raise ValueError("its latent has numbers that are not finite in float16")
            sha256.append(hash_of(codes[i], picture))
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
