"""The latents of a split in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.errors import UserError
from fervit.io.files import is_missing, is_uri
from fervit.labels.emotions import SPLITS
from fervit.labels.label_set import SEVEN, LabelSet
from fervit.latents.parts import read_split
from fervit.system.program import called

COLUMNS = ["image_id", "label", "sha256", "latent"]


@dataclass(frozen=True, kw_only=True)
class LatentSet:
    """The rows of one split, sorted by image id, so that it does not matter which job wrote which file."""

    path: str
    """The folder or URI that they were read from."""
    codes: np.ndarray
    """The W+ codes, float16 [n, seq_len, latent_dim]."""
    labels: np.ndarray
    """The classes, int64 [n], 0..C-1 in the order of `label_set.classes`."""
    image_ids: list[str]
    """The path of each picture below the data root."""
    sha256: list[str]
    """The SHA-256 of the pixels that were encoded, for each picture."""
    encoder: EncoderFingerprint
    """The fingerprint of the encoder that made the codes."""
    label_set: LabelSet = SEVEN
    """The classes."""
    whole: str = ""
    """The fingerprint of the split that the rows were taken from; "" if they are a whole split."""
    targets: np.ndarray | None = None
    """The share of each class among the votes for a row, float32 [n, classes], which training and the loss follow in
    place of the labels; None for labels alone."""

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def read(cls, path: str) -> LatentSet:
        """Reads all Parquet files of a split.

        Args:
            path: the folder of the split, a local path or a URI.

        Raises:
            UserError: there is no such folder, it has no rows or files of two encoders or label sets, an image id
                occurs twice, a label is outside 0..C-1, or a code is not finite.
        """
        path = str(path)
        about, whole = read_split(path, COLUMNS)
        if about is None:
            raise no_latents(path)
        if len(whole) == 0:
            raise UserError(f"{path}: the Parquet files here have no rows; a split needs at least one face")
        for name in COLUMNS:
            if whole[name].null_count:
                raise UserError(f"{path}: column {name} has {whole[name].null_count} empty cells; encode again")
        order = pc.sort_indices(whole["image_id"])
        if not np.array_equal(order, np.arange(len(whole))):
            whole = whole.take(order)
        labels = whole["label"].to_numpy().astype(np.int64)
        if labels.min() < 0 or labels.max() >= len(about.label_set):
            rule = f"labels must lie in 0..{len(about.label_set) - 1}, of {about.label_set}"
            raise UserError(f"{path}: has labels {labels.min()}..{labels.max()}; {rule}")
        twice = len(whole) - pc.count_distinct(whole["image_id"]).as_py()
        if twice:
            raise UserError(f"{path}: {twice} image_ids appear more than once; encode into an empty folder")
        codes = _codes(whole["latent"])
        if not _finite(codes):
            raise UserError(f"{path}: some codes are not finite numbers; encode again, in float32")
        return cls(
            path=path,
            codes=codes,
            labels=labels,
            image_ids=whole["image_id"].to_pylist(),
            sha256=whole["sha256"].to_pylist(),
            encoder=about.encoder,
            label_set=about.label_set,
        )

    def take(self, rows: np.ndarray) -> LatentSet:
        """Returns some rows, integers [k] in ascending order, as a set of their own."""
        return replace(
            self,
            codes=self.codes[rows],
            labels=self.labels[rows],
            image_ids=[self.image_ids[row] for row in rows],
            sha256=[self.sha256[row] for row in rows],
            whole=self.origin,
            targets=None if self.targets is None else self.targets[rows],
        )

    def with_labels(self, labels: np.ndarray, targets: np.ndarray | None = None) -> LatentSet:
        """Returns the same rows with other labels, int64 [n], and targets, as a set of their own."""
        return replace(self, labels=labels, targets=targets, whole=self.origin)

    @property
    def origin(self) -> str:
        """The fingerprint of the whole split, also if these are only some of its rows."""
        return self.whole or self.fingerprint

    @property
    def counts(self) -> np.ndarray:
        """The number of rows of each class, int64 [C]."""
        return np.bincount(self.labels, minlength=len(self.label_set))

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of ids, labels, targets, picture hashes, encoder and classes, not of how files divide them."""
        digest = hashlib.sha256(repr(sorted(self.encoder.to_json().items())).encode())
        if self.label_set != SEVEN:  # those of the seven emotions are as in earlier versions
            digest.update(repr(self.label_set.classes).encode())
        for row in zip(self.image_ids, self.labels.tolist(), self.sha256, strict=True):
            digest.update(repr(row).encode())
        if self.targets is not None:
            digest.update(np.ascontiguousarray(self.targets, np.float32).tobytes())
        return digest.hexdigest()

    def check_classes(self) -> None:
        """Checks that every class has a row.

        Raises:
            UserError: one of the classes has no row.
        """
        missing = self.label_set.without_faces(self.counts)
        if missing:
            raise UserError(
                f"{self.path}: has no face of {', '.join(missing)}; training and validation need all classes: "
                "encode more faces"
            )


def no_latents(path: str) -> UserError:
    """The error where a split's latents were looked for in vain."""
    return UserError(f"{path}: no latents here; {_way_to_latents(path)}")


def refuse_missing_latents(path: str) -> None:
    """Refuses a local folder of a split that is not there, before a command imports what takes seconds.

    Raises:
        UserError: it is not there.
    """
    if is_missing(path):
        raise no_latents(path)


def _way_to_latents(path: str) -> str:
    """What to do where a split's latents were looked for in vain, by what lies there and beside it."""
    parent = path.rstrip("/").rpartition("/")[0]
    if not is_uri(path):
        folder = Path(path)
        old = next(folder.rglob("*.pt"), None) if folder.is_dir() else None
        if old is not None:
            return (
                f"it holds .pt files of earlier scripts ({old.name}): import them with `{called('encode')} "
                f"--from_pt {folder} --latent_out NEW`, then give NEW"
            )
        below = [split for split in SPLITS if any(folder.glob(f"{split}/*.parquet"))]
        if below:
            return f"the splits are below: give {path.rstrip('/')}/{below[0]}"
        beside = [split for split in SPLITS if any(folder.absolute().parent.glob(f"{split}/*.parquet"))]
        if beside and folder.absolute().name in SPLITS:
            return (
                f"beside it are {' and '.join(beside)} only: the encoded data had no split {folder.name}; `train` and "
                f"`tune` take it out of train with --{folder.name}_fraction 0.1"
            )
    return (
        f"make them with `{called('encode')} --data_root FACES --latent_out {parent or 'latents'}`, or run "
        f"`{called('demo')}` for the built-in faces"
    )


def read_sha256(path: str, *, required: bool = True) -> list[str] | None:
    """Reads the SHA-256 of each picture of a split, without its codes.

    Args:
        path: the folder or URI of the split.
        required: whether missing latents are an error; otherwise None is returned for them.

    Raises:
        UserError: there are no latents although they are required.
    """
    about, columns = read_split(path, ["sha256"])
    if about is None and required:
        raise UserError(f"{path}: no latents here; give the folder of a split, such as latents/train")
    return None if about is None else columns["sha256"].to_pylist()


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """The tensor column as one array [n, seq_len, latent_dim], without a copy if the column is one chunk."""
    chunks = [chunk.to_numpy_ndarray() for chunk in column.chunks if len(chunk)]
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def _finite(codes: np.ndarray) -> bool:
    """Whether all float16 are finite: NaN and infinity have all exponent bits set. Ten times as fast as np.isfinite."""
    exponent = np.uint16(0x7C00)
    bits = codes.view(np.uint16)
    return not any(((bits[i : i + 1024] & exponent) == exponent).any() for i in range(0, len(bits), 1024))
