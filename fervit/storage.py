"""Files on any file system that pyarrow opens: local paths and URIs (s3://, gs://, ...)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import quote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from fervit.errors import UserError
from fervit.files import first_line, whole_file

OBJECT_STORES = ("s3", "gcs", "abfs")
"""Where a file appears when its writing ends, and a rename is a copy."""


def is_uri(path: str) -> bool:
    return "://" in path


def child(folder: str, *names: str) -> str:
    """The path or URI of what lies in a folder. A URI's `?options` stay at its end."""
    if not is_uri(folder):
        return "/".join([folder.rstrip("/") or "/", *names]) if folder != "/" else "/" + "/".join(names)
    base, question, options = folder.partition("?")
    return "/".join([base.rstrip("/"), *(quote(name) for name in names)]) + question + options


def absolute(path: str) -> str:
    """A path that tasks elsewhere understand."""
    return path if is_uri(path) else str(Path(path).absolute())


def locate(path: str) -> tuple[pafs.FileSystem, str]:
    """The file system and the path on it.

    Raises:
        UserError: a URI of no known kind, or one that carries a password.
    """
    if not is_uri(path):
        return pafs.LocalFileSystem(), path
    if "@" in urlsplit(path).netloc and urlsplit(path).scheme != "abfs":
        raise UserError(
            f"{path.partition('://')[0]}://...: the URI carries a user or a secret, which command lines and logs would "
            "show; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the store's own variables) instead"
        )
    return _from_uri(path)


def child_of(inner: str, *names: str) -> str:
    """A path on a file system, below `inner`."""
    return str(PurePosixPath(inner, *names))


def write_whole(filesystem: pafs.FileSystem, path: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file that appears whole or not at all, with the folders above it."""
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


@contextmanager
def naming(path: str, what: str) -> Iterator[None]:
    """Turns what pyarrow finds wrong with a file into one line for the user: `<path>: <what> (<why>)`."""
    try:
        yield
    except (pa.ArrowException, KeyError, OSError) as error:
        raise UserError(f"{path}: {what} ({first_line(error)})") from None


@lru_cache(maxsize=64)
def _from_uri(uri: str) -> tuple[pafs.FileSystem, str]:
    with naming(uri, "is no place that can be read"):
        filesystem, inner = pafs.FileSystem.from_uri(uri)
    return filesystem, inner
