"""predictions.parquet: what a model said of each face, in a form that any reader of Parquet opens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fervit.emotions import NUM_EMOTIONS
from fervit.errors import UserError
from fervit.files import whole_file
from fervit.storage import naming

FILE = "predictions.parquet"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Of the rows of one split, in the order of their image ids."""

    image_ids: list[str]
    labels: np.ndarray
    """int64 [n]."""
    probabilities: np.ndarray
    """float32 [n, 7]."""
    split: str
    latents: str
    """Fingerprint of the rows: equal for predictions on the same rows."""
    checkpoint: str
    """Fingerprint of the model."""

    @property
    def predicted(self) -> np.ndarray:
        """int64 [n]; of equally probable classes the first."""
        classes: np.ndarray = self.probabilities.argmax(axis=1)
        return classes

    def write(self, path: Path) -> None:
        """Columns image_id, label, predicted, probabilities (seven float32)."""
        probabilities = pa.FixedSizeListArray.from_arrays(pa.array(self.probabilities.ravel()), NUM_EMOTIONS)
        columns = {
            "image_id": pa.array(self.image_ids, pa.string()),
            "label": pa.array(self.labels.astype(np.int8)),
            "predicted": pa.array(self.predicted.astype(np.int8)),
            "probabilities": probabilities,
        }
        about = {"split": self.split, "latents": self.latents, "checkpoint": self.checkpoint}
        table = pa.table(columns).replace_schema_metadata({"fervit": json.dumps(about)})
        with whole_file(path) as aside:
            pq.write_table(table, aside)

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Raises UserError if there are none, or the file was not written by `write`."""
        if not path.is_file():
            raise UserError(f"{path}: there are no predictions; `python launch/evaluate.py` writes them")
        with naming(str(path), "holds no predictions that can be read"):
            table = pq.read_table(path)
            probabilities = table["probabilities"].combine_chunks().flatten().to_numpy().reshape(-1, NUM_EMOTIONS)
            try:
                about = json.loads(table.schema.metadata[b"fervit"])
                return cls(
                    image_ids=table["image_id"].to_pylist(),
                    labels=table["label"].to_numpy().astype(np.int64),
                    probabilities=probabilities,
                    **{key: str(about[key]) for key in ("split", "latents", "checkpoint")},
                )
            except (TypeError, ValueError, KeyError):
                raise UserError(
                    f"{path}: is Parquet but no predictions of fervit; `python launch/evaluate.py` writes them"
                ) from None
