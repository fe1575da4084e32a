"""The Parquet schema of latents, which any reader of Parquet opens. Its metadata names the encoder and the classes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.errors import UserError
from fervit.labels.label_set import SEVEN, LabelSet, label_set_of
from fervit.system.program import called

VERSION = 1
METADATA_KEY = b"fervit"
FLOAT32_KEY = b"fervit_in_float32"
"""The metadata that names the faces of a part whose codes come from float32 in a folder of float16."""
LABELS = "labels"
"""The key of the classes, which files of the seven emotions lack."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What the metadata of latents says of all rows."""

    encoder: EncoderFingerprint
    label_set: LabelSet = SEVEN


def schema(encoder: EncoderFingerprint, label_set: LabelSet = SEVEN) -> pa.Schema:
    """The schema of codes of an encoder.

    Its columns are image_id (the path of the picture below the data root), label (0..C-1, an index into the classes),
    sha256 (of the pixels that were encoded) and latent (the code, a float16 tensor [seq_len, latent_dim]). The metadata
    holds the version of this format, the encoder's fingerprint and, as `labels`, the classes in order, unless they are
    the seven emotions.
    """
    labels = {} if label_set == SEVEN else {LABELS: list(label_set.classes)}
    shape = (encoder.seq_len, encoder.latent_dim)
    return pa.schema(
        [
            ("image_id", pa.string()),
            ("label", pa.int8()),
            ("sha256", pa.string()),
            ("latent", pa.fixed_shape_tensor(pa.float16(), shape)),
        ],
        metadata={METADATA_KEY: json.dumps({"version": VERSION, **labels, **encoder.to_json()})},
    )


def table(
    image_ids: list[str], labels: np.ndarray, sha256: list[str], codes: np.ndarray, schema: pa.Schema
) -> pa.Table:
    """Builds the table to write for n faces.

    Args:
        image_ids: the n ids.
        labels: the classes, integers [n].
        sha256: the SHA-256 of each picture's pixels.
        codes: the codes [n, seq_len, latent_dim] of any float type.
        schema: from `schema`.
    """
    latent = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(codes, np.float16))
    return pa.table([image_ids, labels.astype(np.int8), sha256, latent], schema=schema)


def with_float32(part: pa.Table, image_ids: list[str]) -> pa.Table:
    """Notes in a part's metadata the faces whose codes were not finite in float16 and come from float32."""
    if not image_ids:
        return part
    return part.replace_schema_metadata({**part.schema.metadata, FLOAT32_KEY: json.dumps(image_ids)})


def float32_of(file_schema: pa.Schema) -> list[str]:
    """Reads what `with_float32` noted; nothing from files of earlier versions."""
    return [str(name) for name in json.loads((file_schema.metadata or {}).get(FLOAT32_KEY, b"[]"))]


def about(file_schema: pa.Schema, where: str) -> About:
    """Reads the metadata of a file's schema.

    Args:
        file_schema: the schema of a Parquet file.
        where: the path of the file, for messages.

    Raises:
        UserError: the schema is not that of fervit's latents, or its columns do not fit its fingerprint.
    """
    try:
        metadata = dict(json.loads((file_schema.metadata or {})[METADATA_KEY]))
        version = metadata.pop("version")
        label_set = label_set_of(metadata.pop(LABELS)) if LABELS in metadata else SEVEN
        encoder = EncoderFingerprint.from_json({"precision": "float32", **metadata})  # files may lack the precision
        expected = schema(encoder, label_set)
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{where}: is Parquet but no latents of fervit (no 'fervit' metadata); encode with {called('encode')}"
        ) from None
    if version != VERSION:
        raise UserError(f"{where}: was written by another version of fervit's format; this one reads version {VERSION}")
    for column in expected:
        i = file_schema.get_field_index(column.name)
        if i < 0 or file_schema.field(i).type != column.type:
            found = file_schema.field(i).type if i >= 0 else "missing"
            raise UserError(f"{where}: column {column.name} must be {column.type}, but is {found}; encode again")
    return About(encoder=encoder, label_set=label_set)
