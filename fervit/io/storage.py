"""Reads and writes files on any file system that pyarrow opens: local paths and URIs (s3://, gs://, ...)."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, TextIO, TypeVar
from urllib.parse import quote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from fervit.errors import UserError
from fervit.io.disk import remove
from fervit.io.files import first_line, is_uri, whole_file

OBJECT_STORES = ("s3", "gcs", "abfs")
"""File systems where a file appears when its writing ends, and where renaming a file copies it."""


def child(folder: str, *names: str) -> str:
    """The path or URI of a file or folder inside a folder. The `?options` of a URI stay at its end."""
    if not is_uri(folder):
        return "/".join([folder.rstrip("/") or "/", *names]) if folder != "/" else "/" + "/".join(names)
    base, question, options = folder.partition("?")
    return "/".join([base.rstrip("/"), *(quote(name) for name in names)]) + question + options


def name_of(folder: str) -> str:
    """The last part of a path or URI."""
    return PurePosixPath(folder.partition("?")[0] if is_uri(folder) else Path(folder).absolute()).name


def sibling(folder: str, name: str) -> str:
    """The path or URI of a file or folder beside a folder."""
    if not is_uri(folder):
        return str(Path(folder).absolute().parent / name)
    base, question, options = folder.partition("?")
    return base.rstrip("/").rpartition("/")[0] + "/" + quote(name) + question + options


def absolute(path: str) -> str:
    """The absolute form of a path, which processes with other working directories understand. URIs stay as they are."""
    return path if is_uri(path) else str(Path(path).absolute())


def locate(path: str) -> tuple[pafs.FileSystem, str]:
    """Finds the file system of a path or URI, and the path on it.

    Raises:
        UserError: the kind of URI is not known, it carries a password or key, or the path is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UserError(f"{shown}: the path is not UTF-8; rename the folder") from None
    if not is_uri(path):
        return pafs.LocalFileSystem(), path
    if _carries_secret(path):
        raise UserError(
            f"{path.partition('://')[0]}://...: the URI carries a user or a secret, which command lines and logs would "
            "show; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the store's own variables) instead"
        )
    return _from_uri(path)


def cannot_write(folder: str, error: OSError) -> str:
    """Says why a file could not be written, and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{folder}: the disk is full; free some space, then the same command goes on where it stopped"
    return f"{folder}: cannot be written to ({first_line(error)}); see to it, then start the same command again"


def child_of(inner: str, *names: str) -> str:
    """The path of a file or folder inside a folder, on one file system."""
    return str(PurePosixPath(inner, *names))


def write_whole(filesystem: pafs.FileSystem, path: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file that appears whole or not at all. Missing parent folders are made.

    Args:
        filesystem: the file system.
        path: the path of the file there.
        write: writes the content into the binary file that it is given.
    """
    if isinstance(filesystem, pafs.LocalFileSystem):
        with whole_file(Path(path)) as aside, aside.open("wb") as file:
            write(file)
        return
    buffer = pa.BufferOutputStream()
    write(buffer)
    if filesystem.type_name in OBJECT_STORES:
        with filesystem.open_output_stream(path) as stream:
            stream.write(buffer.getvalue())
        return
    parent, name = os.path.split(path)
    filesystem.create_dir(parent, recursive=True)
    aside_path = f"{parent}/.{name}.{os.getpid()}"
    with filesystem.open_output_stream(aside_path) as stream:
        stream.write(buffer.getvalue())
    filesystem.move(aside_path, path)


def delete(filesystem: pafs.FileSystem, path: str) -> None:
    """Deletes a file, which may be missing on a local disk."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        remove(Path(path))
    else:
        filesystem.delete_file(path)


@contextmanager
def naming(path: str, what: str) -> Iterator[None]:
    """Turns exceptions of pyarrow into a UserError of one line: `<path>: <what> (<why>)`."""
    try:
        yield
    except (pa.ArrowException, KeyError, OSError) as error:
        raise UserError(f"{path}: {what} ({first_line(error)})") from None


Row = TypeVar("Row")


def read_csv(file: str, flag: str, reader: Callable[[TextIO], Iterable[Row]]) -> tuple[list[Row], bytes]:
    """Reads a CSV file in UTF-8 that a flag names.

    Args:
        file: the path or URI.
        flag: the flag, for messages.
        reader: `csv.reader` or `csv.DictReader`.

    Returns:
        Its rows, and the content of the file.

    Raises:
        UserError: the file is missing, or no CSV file in UTF-8.
    """
    filesystem, path = locate(file)
    with naming(f"{flag} {file}", "cannot be read"), filesystem.open_input_stream(path) as stream:
        content = stream.readall()
    try:
        return list(reader(io.StringIO(content.decode("utf-8-sig")))), content
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{flag} {file}: is no CSV file in UTF-8") from None


def _carries_secret(uri: str) -> bool:
    """Whether a URI has a user or password before the bucket (a secret may hold a slash), or keys among its options."""
    parts = urlsplit(uri)
    if parts.scheme in ("s3", "gs", "gcs"):
        return "@" in parts.netloc or ":" in parts.netloc or bool(re.search(r"(access|secret)_key|token", parts.query))
    return ":" in parts.netloc.rpartition("@")[0]


@lru_cache(maxsize=64)
def _from_uri(uri: str) -> tuple[pafs.FileSystem, str]:
    with naming(uri, "is no place that can be read"):
        filesystem, inner = pafs.FileSystem.from_uri(uri)
    return filesystem, inner
