"""The index of a set of faces: a table with a row for each face that says where its pixels are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from fervit.errors import UserError
from fervit.images.passed_over import PassedOver
from fervit.images.pictures import read_picture
from fervit.labels.emotions import SPLITS
from fervit.labels.label_set import SEVEN, LabelSet

SourceKind = Literal["file", "kaggle", "pt"]
"""A row of the index is a picture file, a row of Kaggle's CSV, or a code in a .pt file of an earlier script."""
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("split", pa.string()),
        ("label", pa.int8()),
        ("source", pa.large_string()),  # the picture's path on its file system, or the CSV row's text of pixels
    ]
)


class Face(NamedTuple):
    """A face with its pixels."""

    image_id: str
    split: str
    label: int
    pixels: np.ndarray
    """The RGB pixels, uint8 [height, width, 3]."""


@dataclass(frozen=True, kw_only=True)
class FaceIndex:
    """The faces of a data root, in a fixed order."""

    root: str
    """The data root, as the user named it."""
    kind: SourceKind
    table: pa.Table
    """A row for each face, with the columns of `SCHEMA`."""
    filesystem: pafs.FileSystem
    """The file system that the sources are on."""
    label_set: LabelSet = SEVEN
    """The classes, of which `label` is an index."""
    one_split: bool = False
    """Whether the root is one split (a folder of class folders) rather than a folder of splits."""
    passed_over: tuple[PassedOver, ...] = ()
    """The files below the root, or the rows, that are no faces."""
    remarks: tuple[str, ...] = ()
    """What the user should know of how names were understood."""
    left_out: int = 0
    """The number of faces that `limited` has left out."""

    def splits(self) -> list[str]:
        """The splits that have faces: train, val, test, then others."""
        present = set(self.table["split"].to_pylist())
        return sorted(present, key=lambda split: SPLITS.index(split) if split in SPLITS else len(SPLITS))

    def of_split(self, split: str) -> pa.Table:
        """The rows of one split."""
        return self.table.filter(pc.equal(self.table["split"], split))

    def counts(self, split: str) -> np.ndarray:
        """Counts the faces of each class of a split, int64 [C], without rows whose class is unknown (-1)."""
        labels = self.of_split(split)["label"].to_numpy()
        counts: np.ndarray = np.bincount(labels[labels >= 0], minlength=len(self.label_set))
        return counts

    def stream(self) -> Iterator[Face]:
        """Yields every face with its pixels, which are decoded one face at a time."""
        for batch in self.table.to_batches(max_chunksize=256):
            for row in batch.to_pylist():
                yield Face(row["image_id"], row["split"], row["label"], self.read(row["source"]))

    def read(self, source: str) -> np.ndarray:
        """Reads the RGB pixels of a row, uint8 [height, width, 3], from its `source`; raises as `read_source`."""
        return read_source(self.kind, self.filesystem, source)

    def limited(self, limit: int | None) -> FaceIndex:
        """Chooses at most `limit` faces. Every class of every split keeps its share, and at least one face.

        The choice depends on the image ids alone: a larger limit keeps what a smaller one chose, except for rounding.

        Raises:
            UserError: the limit is smaller than the number of classes over all splits.
        """
        if limit is None or limit >= len(self.table):
            return self
        groups = _groups(self.table)
        if limit < len(groups):
            raise UserError(
                f"--limit {limit}: the splits of {self.root} have {len(groups)} classes in all, and each keeps at "
                f"least one face; give {len(groups)} or more"
            )
        kept = _shares(np.array([len(rows) for rows in groups]), limit)
        rows = np.sort(np.concatenate([group[:n] for group, n in zip(groups, kept, strict=True)]))
        return replace(self, table=self.table.take(rows), left_out=len(self.table) - len(rows))

    def with_table(self, table: pa.Table) -> FaceIndex:
        """The index of the same data root with other rows."""
        return replace(self, table=table)

    def check_classes(self) -> None:
        """Checks that every split has all classes.

        Raises:
            UserError: a split lacks a class.
        """
        for split in self.splits():
            missing = self.label_set.without_faces(self.counts(split))
            if missing:
                raise UserError(
                    f"{self.root}: split '{split}' holds no face of {', '.join(missing)}; every split needs all of "
                    f"{self.label_set}: add pictures, pass --allow_missing_classes, or name another set by --labels"
                )


def read_source(kind: SourceKind, filesystem: pafs.FileSystem, source: str) -> np.ndarray:
    """Reads the RGB pixels of a row of an index, uint8 [height, width, 3].

    Args:
        kind: the kind of the index.
        filesystem: the file system of the index.
        source: the `source` of the row.

    Raises:
        OSError, ValueError, Image.DecompressionBombError: the picture cannot be read.
    """
    if kind == "file":
        return read_picture(filesystem, source)
    from fervit.images.pictures import parse_pixels

    return parse_pixels(source)


def _groups(table: pa.Table) -> list[np.ndarray]:
    """The numbers of the rows of each class of each split, in an order that depends on the image ids only."""
    rank = np.array([hashlib.sha256(name.encode()).digest()[:8] for name in table["image_id"].to_pylist()])
    order = np.argsort(rank, kind="stable")
    keys = np.char.add(table["split"].to_numpy().astype(str), table["label"].to_numpy().astype(str))
    return [order[keys[order] == key] for key in np.unique(keys)]


def _shares(sizes: np.ndarray, limit: int) -> np.ndarray:
    """Divides `limit` among groups in proportion to their sizes, at least 1 each, by the largest remainders."""
    exact = sizes * (limit / sizes.sum())
    kept: np.ndarray = np.maximum(1, np.floor(exact).astype(int))
    by_remainder = np.argsort(-(exact - kept), kind="stable")
    for i in range(limit - kept.sum()):
        kept[by_remainder[i % len(sizes)]] += 1
    while kept.sum() > limit:  # the minimum of one took too many
        kept[np.argmax(kept)] -= 1
    return kept
