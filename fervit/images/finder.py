"""Finds the pictures that codes were made from, if they still exist."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fervit.images.index import open_faces
from fervit.images.pictures import pixels_sha256, resize
from fervit.labels.label_set import LabelSet


class FaceFinder:
    """Finds faces by the image ids and the hashes that are stored with their codes.

    Args:
        data_root: the data root that `launch/encode.py` was given.
        size: the side of the encoder's input in pixels, at which pictures were hashed.
        labels: the label set with which the data root was read; None for the default.

    Raises:
        UserError: there are no faces in the data root.
    """

    def __init__(self, data_root: str, size: int, labels: LabelSet | None = None) -> None:
        self._index, self._size = open_faces(data_root, labels), size

    def find(self, image_ids: Sequence[str], sha256: Sequence[str]) -> list[np.ndarray | None]:
        """Reads the picture of each face, RGB uint8 [size, size, 3].

        Args:
            image_ids: the image ids of the faces.
            sha256: the hash of each face.

        Returns:
            A picture for each face; None if it is missing or has changed since it was encoded.
        """
        table = self._index.table
        rows = table.filter(pc.is_in(table["image_id"], value_set=pa.array(image_ids, pa.string()))).to_pylist()
        found: dict[str, np.ndarray] = {}  # by hash, since two splits may have an image id in common
        for row in rows:
            try:
                pixels = resize(self._index.read(row["source"]), self._size)
            except Exception:  # a picture that can no longer be read counts as missing
                continue
            found[pixels_sha256(pixels)] = pixels
        return [found.get(digest) for digest in sha256]
