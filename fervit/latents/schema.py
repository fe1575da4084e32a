"""The latents on disk: Parquet that any reader opens, with the encoder's fingerprint in the schema."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fervit.errors import UserError
from fervit.files import first_line

VERSION = 1
METADATA_KEY = b"fervit"
ERRORS_FILE = "_errors.jsonl"


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


def locate(path: str) -> tuple[pafs.FileSystem, str]:
    """The file system and the path on it, for a local path or a URI (s3://, gs://)."""
    if "://" in path:
        with _naming(path):
            filesystem, inner = pafs.FileSystem.from_uri(path)
        return filesystem, inner
    return pafs.LocalFileSystem(), path


def parts(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    """The whole Parquet files of a split, sorted. Names that begin with `.` or `_` are not data."""
    selector = pafs.FileSelector(folder, allow_not_found=True)
    with _naming(folder):
        infos = [info for info in filesystem.get_file_info(selector) if info.is_file]
    data = [info for info in infos if info.base_name.endswith(".parquet") and info.base_name[0] not in "._"]
    return sorted(info.path for info in data)


def open_parts(folder: str) -> Iterator[tuple[str, pa.Schema]]:
    """(path, schema) of each part of a split; only the files' footers are read."""
    filesystem, inner = locate(folder)
    for path in parts(filesystem, inner):
        with _naming(path):
            file_schema = pq.read_schema(path, filesystem=filesystem)
        yield path, file_schema


def read_columns(folder: str, columns: list[str]) -> pa.Table:
    """Columns of all parts of a split, in the order of the parts' names.

    Row groups are decoded by a thread each: pyarrow's own threads share out columns, and nearly all bytes are in one.

    Raises:
        UserError: a file is no whole Parquet file or lacks a column.
    """
    filesystem, inner = locate(folder)
    tasks = []
    for path in parts(filesystem, inner):
        with _naming(path), filesystem.open_input_file(path) as file:
            tasks += [(path, group) for group in range(pq.ParquetFile(file).metadata.num_row_groups)]

    def read(task: tuple[str, int]) -> pa.Table:
        path, group = task
        with _naming(path), filesystem.open_input_file(path) as file:
            table = pq.ParquetFile(file).read_row_group(group, columns=columns, use_threads=False)
            return table.select(columns).replace_schema_metadata(None)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tables = list(pool.map(read, tasks))
    return pa.concat_tables(tables) if tables else pa.table({name: [] for name in columns})


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turns what pyarrow finds wrong with a file into one line for the user."""
    try:
        yield
    except (pa.ArrowException, KeyError, OSError) as error:
        raise UserError(f"{path}: holds no latents that can be read ({first_line(error)})") from None


def encoder_in(folder: str) -> dict[str, Any] | None:
    """The fingerprint of the encoder whose codes a split's folder holds, from the schemas alone; None without files.

    Raises:
        UserError: a file is no Parquet of latents, or two files hold codes of different encoders.
    """
    encoder: dict[str, Any] | None = None
    for path, file_schema in open_parts(folder):
        found = encoder_of(file_schema, path)
        if encoder is not None and found != encoder:
            raise UserError(
                f"{path}: its codes come from encoder {found}, those before it from {encoder}; codes of two encoders "
                "never mix: encode into a folder of its own"
            )
        encoder = found
    return encoder
