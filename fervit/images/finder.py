"""The pictures that codes were made from, where they are still at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fervit.images.index import open_faces
from fervit.images.pictures import pixels_sha256, resize


class FaceFinder:
    """Finds faces by the name and the hash that stand with their codes.

    Args:
        data_root: what `launch/encode.py` was given.
        size: side of the encoder's input in pixels, at which the hash was taken.

    Raises:
        UserError: there are no faces.
    """

    def __init__(self, data_root: str, size: int) -> None:
        self._index, self._size = open_faces(data_root), size

    def find(self, image_ids: Sequence[str], sha256: Sequence[str]) -> list[np.ndarray | None]:
        """For each face its picture, uint8 [size, size, 3]; None if it is not there or has changed since."""
        table = self._index.table
        rows = table.filter(pc.is_in(table["image_id"], value_set=pa.array(image_ids, pa.string()))).to_pylist()
        found: dict[str, np.ndarray] = {}  # two splits may have an id in common, but not one picture's hash
        for row in rows:
            try:
                pixels = resize(self._index.read(row["source"]), self._size)
            except Exception:  # a picture that cannot be read any more is not at hand, whatever ails it
                continue
            found[pixels_sha256(pixels)] = pixels
        return [found.get(digest) for digest in sha256]
