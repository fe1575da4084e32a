"""predictions.parquet holds the prediction of a model for each face. Any reader of Parquet opens it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fervit.errors import UserError
from fervit.evaluation.statistics import confusion
from fervit.io.files import JsonObject, whole_file
from fervit.io.storage import naming
from fervit.labels.label_set import SEVEN, LabelSet, label_set_of
from fervit.system.program import called

FILE = "predictions.parquet"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The predictions of a model for the rows of a split, sorted by image id."""

    image_ids: list[str]
    labels: np.ndarray
    """The true classes 0..C-1, int64 [n]."""
    probabilities: np.ndarray
    """The predicted probabilities of the classes, float32 [n, C]."""
    split: str
    latents: str
    """The fingerprint of the rows (`LatentSet.fingerprint`), which is equal for predictions on the same rows."""
    checkpoint: str
    """The fingerprint of the model (`Checkpoint.fingerprint`)."""
    label_set: LabelSet = SEVEN
    """The classes."""

    @property
    def confusion(self) -> np.ndarray:
        """The confusion matrix, integers [C, C]; rows are true classes."""
        return confusion(self.labels, self.predicted, len(self.label_set))

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each row, int64 [n]; the first of equally probable ones."""
        classes: np.ndarray = self.probabilities.argmax(axis=1)
        return classes

    def write(self, path: Path) -> None:
        """Writes a Parquet file, whole or not at all.

        Its columns are image_id, label, predicted, and probabilities (C float32). The
        metadata has the classes as `labels`, unless they are the seven emotions.
        """
        probabilities = pa.FixedSizeListArray.from_arrays(pa.array(self.probabilities.ravel()), len(self.label_set))
        columns = {
            "image_id": pa.array(self.image_ids, pa.string()),
            "label": pa.array(self.labels.astype(np.int8)),
            "predicted": pa.array(self.predicted.astype(np.int8)),
            "probabilities": probabilities,
        }
        about: JsonObject = {"split": self.split, "latents": self.latents, "checkpoint": self.checkpoint}
        if self.label_set != SEVEN:
            about["labels"] = list(self.label_set.classes)
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
            raise UserError(f"{path}: there are no predictions; `{called('evaluate')}` writes them")
        with naming(str(path), "holds no predictions that can be read"):
            table = pq.read_table(path)
            probabilities = table["probabilities"].combine_chunks().flatten().to_numpy()
            try:
                about = json.loads(table.schema.metadata[b"fervit"])
                label_set = label_set_of(about.get("labels", SEVEN.classes))
                return cls(
                    image_ids=table["image_id"].to_pylist(),
                    labels=table["label"].to_numpy().astype(np.int64),
                    probabilities=probabilities.reshape(-1, len(label_set)),
                    label_set=label_set,
                    **{key: str(about[key]) for key in ("split", "latents", "checkpoint")},
                )
            except (TypeError, ValueError, KeyError):
                raise UserError(
                    f"{path}: is Parquet but no predictions of fervit; `{called('evaluate')}` writes them"
                ) from None
