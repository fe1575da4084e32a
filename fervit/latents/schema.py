"""The latents on disk: Parquet that any reader opens, with the encoder's fingerprint in the schema."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from fervit.errors import UserError

VERSION = 1
METADATA_KEY = b"fervit"


def schema(encoder: dict[str, Any]) -> pa.Schema:
    """The columns of design.md's "The latents on disk", with the encoder's fingerprint as metadata."""
    shape = (encoder["seq_len"], encoder["latent_dim"])
    return pa.schema(
        [
            ("image_id", pa.string()),
            ("label", pa.int8()),
            ("sha256", pa.string()),
            ("latent", pa.fixed_shape_tensor(pa.float16(), shape)),
        ],
        metadata={METADATA_KEY: json.dumps({"version": VERSION, **encoder})},
    )


def table(
    image_ids: list[str], labels: np.ndarray, sha256: list[str], codes: np.ndarray, schema: pa.Schema
) -> pa.Table:
    """Rows to write. `codes` is [n, seq_len, latent_dim] of any float type."""
    latent = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(codes, np.float16))
    return pa.table([image_ids, labels.astype(np.int8), sha256, latent], schema=schema)


def encoder_of(file_schema: pa.Schema, where: str) -> dict[str, Any]:
    """The fingerprint in a file's schema, without the version.

    Raises:
        UserError: the schema is not that of fervit's latents, or its columns do not fit its fingerprint.
    """
    try:
        metadata = dict(json.loads((file_schema.metadata or {})[METADATA_KEY]))
        version = metadata.pop("version")
        metadata.setdefault("precision", "float32")  # the first release had no other
        expected = schema(metadata)
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{where}: is Parquet but no latents of fervit (no 'fervit' metadata); encode with launch/encode.py"
        ) from None
    if version != VERSION:
        raise UserError(f"{where}: was written by another version of fervit's format; this one reads version {VERSION}")
    for column in expected:
        i = file_schema.get_field_index(column.name)
        if i < 0 or file_schema.field(i).type != column.type:
            found = file_schema.field(i).type if i >= 0 else "missing"
            raise UserError(f"{where}: column {column.name} must be {column.type}, but is {found}; encode again")
    return metadata


def same_encoder(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether codes of two fingerprints may be compared: precision and the way they came here do not matter."""
    return _identity(one) == _identity(other)


def _identity(encoder: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in encoder.items() if key not in ("precision", "imported")}
