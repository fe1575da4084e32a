"""Imports codes that earlier scripts wrote into one file `<emotion>_<name>.pt` for each face.

Each file holds {"latent": [18, 512], "label": int, "img_path": str}. The files are untrusted: nothing in them is
executed. The emotion is taken from the name of the file, since the numbers are Kaggle's in files of some scripts and
alphabetical in those of others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from fervit.emotions import EMOTIONS, KAGGLE_EMOTIONS, SPLITS
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.encoding.stages import Columns, names_of
from fervit.errors import UserError
from fervit.images.face_index import SCHEMA, FaceIndex
from fervit.images.folders import readable
from fervit.images.pictures import pixels_sha256, read_picture, reason_of, resize

UNKNOWN = "unknown"
STYLES, STYLE_DIM = (14, 16, 18), 512
SIZE = 256
"""The side of the input of pSp and e4e in pixels, to which a picture is resized before it is hashed."""


def index_pt(folder: str) -> FaceIndex:
    """Lists the .pt files of a folder with subfolders train, val and test, or of a folder that is one split itself.

    The image_id of a file is `<split>/<emotion>/<name>`.

    Raises:
        UserError: there is no such folder, it holds no .pt file, or two files have the same image_id.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"--from_pt {folder}: there is no such folder")
    splits = [root / split for split in SPLITS if (root / split).is_dir()]
    rows = []
    for split in splits or [root]:
        for path in sorted(split.rglob("*.pt")):
            emotion, _, name = readable(path.stem).partition("_")
            label = EMOTIONS.index(emotion.lower()) if emotion.lower() in EMOTIONS else -1
            image_id = f"{emotion.lower()}/{name}" if label >= 0 else readable(path.stem)
            inside = readable(path.parent.relative_to(root).as_posix())  # the split, and folders below it
            source = str(path.absolute())
            rows.append(
                (
                    image_id if inside == "." else f"{inside}/{image_id}",
                    split.resolve().name,
                    label,
                    source if source == readable(source) else "",
                )
            )
    if not rows:
        raise UserError(f"--from_pt {folder}: holds no .pt file; expected [train|val|test/]<emotion>_<name>.pt")
    twice = [name for name, n in Counter(row[0] for row in rows).items() if n > 1]
    if twice:
        raise UserError(f"--from_pt {folder}: two files mean the same face, {twice[0]}; keep one of them")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(SCHEMA.names)}
    table = pa.table(columns, schema=SCHEMA)
    return FaceIndex(root=folder, kind="pt", table=table, filesystem=pafs.LocalFileSystem(), one_split=not splits)


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


def load_block(block: pa.Table, fingerprint: EncoderFingerprint) -> Columns:
    """Reads the codes of n rows of an index: the column `latent`, float16 [n, seq_len, latent_dim].

    A file that cannot be used has its reason in the column `error`, which is "" for the others.
    """
    shape = (fingerprint.seq_len, fingerprint.latent_dim)
    codes = np.zeros((len(block), *shape), np.float16)
    sha256, errors = [], []
    for i, (source, label) in enumerate(zip(block["source"].to_pylist(), block["label"].to_pylist(), strict=True)):
        try:
            if label < 0:
                raise ValueError(f"its name does not begin with an emotion ({', '.join(EMOTIONS)})")
            code, number, picture = _load(source)
            if number is not None and number not in (label, KAGGLE_EMOTIONS.index(EMOTIONS[label])):
                raise ValueError(f"its label {number} contradicts its name: {EMOTIONS[label]} is {label}")
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

    from fervit.torch_files import load_untrusted

    if not path:
        raise ValueError("the file's name is not UTF-8: rename it")
    content = load_untrusted(Path(path))
    latent = content.get("latent") if isinstance(content, dict) else None
    if not isinstance(latent, torch.Tensor) or latent.layout != torch.strided or not latent.is_floating_point():
        raise ValueError("it holds no tensor under 'latent'")
    latent = latent.detach().float()
    if latent.dim() == 3 and len(latent) == 1:
        latent = latent[0]
    if latent.dim() != 2 or len(latent) not in STYLES or latent.shape[1] != STYLE_DIM:
        raise ValueError(f"its latent is {list(latent.shape)}; it must be [18, 512] ([16, 512], [14, 512])")
    label, picture = content.get("label"), content.get("img_path")
    if isinstance(label, torch.Tensor) and label.numel() == 1:
        label = label.item()
    return (
        latent.numpy(),
        label if isinstance(label, int) else None,
        picture if isinstance(picture, str) else "",
    )


def _hash(code: np.ndarray, picture: str) -> str:
    """The SHA-256 of the picture's pixels if it can be read, as for faces that fervit encodes, else of the code."""
    if picture and Path(picture).is_file():
        try:
            pixels = resize(read_picture(pafs.LocalFileSystem(), str(Path(picture).absolute())), SIZE)
            return pixels_sha256(pixels)
        except Exception:  # the picture is broken, but the code is good
            pass
    return "code:" + hashlib.sha256(code.tobytes()).hexdigest()
