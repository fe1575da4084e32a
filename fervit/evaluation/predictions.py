"""predictions.parquet holds the prediction of a model for each face. Any reader of Parquet opens it."""

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
    """The predictions of a model for the rows of a split, sorted by image id."""

    image_ids: list[str]
    labels: np.ndarray
    """The true classes 0..6, int64 [n]."""
    probabilities: np.ndarray
    """The predicted probabilities of the classes, float32 [n, 7]."""
    split: str
    latents: str
    """The fingerprint of the rows (`LatentSet.fingerprint`), which is equal for predictions on the same rows."""
    checkpoint: str
    """The fingerprint of the model (`Checkpoint.fingerprint`)."""

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each row, int64 [n]; the first of equally probable ones."""
        classes: np.ndarray = self.probabilities.argmax(axis=1)
        return classes

    def write(self, path: Path) -> None:
        """Writes a Parquet file, whole or not at all.

        Its columns are image_id, label, predicted, and probabilities (seven float32).
        """
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
        """Reads what `write` wrote.

        Raises:
            UserError: there is no such file, or `write` has not written it.
        """
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
