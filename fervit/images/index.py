"""Finds out which faces a data root holds, before any picture is opened."""

from __future__ import annotations

import zlib
from contextlib import suppress

import pyarrow.fs as pafs

from fervit.errors import UserError
from fervit.images import passed_over
from fervit.images.face_index import FaceIndex
from fervit.storage import locate, naming


def open_faces(data_root: str) -> FaceIndex:
    """Lists the faces of a data root.

    Args:
        data_root: a folder of splits or of class folders, or Kaggle's fer2013.csv, gzipped or not; a path or a URI.

    Raises:
        UserError: there is no such path, it holds no picture, or it is laid out in a way that fervit does not know.
    """
    from fervit.images.fer2013 import index_csv
    from fervit.images.folders import index_folder

    filesystem, path = locate(data_root)
    with naming(f"--data_root {data_root}", "cannot be opened"):
        found = filesystem.get_file_info(path)
    if found.type == pafs.FileType.NotFound:
        raise UserError(f"--data_root {data_root}: there is no such file or folder")
    if found.is_file:
        with naming(f"--data_root {data_root}", "cannot be opened"), filesystem.open_input_file(path) as file:
            _refuse_other_files(data_root, file.read(HEAD))
    index = (index_csv if found.is_file else index_folder)(data_root, filesystem, path)
    if len(index.table) == 0:
        others = f" ({passed_over.brief(index.passed_over)})" if index.passed_over else ""
        raise UserError(
            f"--data_root {data_root}: holds no picture{others}; expected {{train,val,test}}/<emotion>/*.png or .jpg, "
            "or a fer2013.csv"
        )
    return index


HEAD = 65536
"""The bytes at the beginning of a file by which its kind is known."""
ARCHIVES = {
    b"PK\x03\x04": "unzip {} -d FOLDER",
    b"7z\xbc\xaf\x27\x1c": "7z x {} -oFOLDER",
    b"Rar!": "unrar x {} FOLDER/",
    b"BZh": "tar -xf {} -C FOLDER",
    b"\xfd7zXZ": "tar -xf {} -C FOLDER",
    b"\x28\xb5\x2f\xfd": "tar -xf {} -C FOLDER",
}
"""The first bytes of an archive -> the command that unpacks it."""


def _refuse_other_files(root: str, head: bytes) -> None:
    """Raises UserError if a file is an archive or another known kind rather than a CSV."""
    inner = head
    if head.startswith(b"\x1f\x8b"):
        with suppress(EOFError, zlib.error):
            inner = zlib.decompressobj(wbits=31).decompress(head, HEAD)
    unpack = next((command for magic, command in ARCHIVES.items() if head.startswith(magic)), "")
    if inner[257:262] == b"ustar":
        unpack = "tar -xf {} -C FOLDER"
    if unpack:
        raise UserError(
            f"--data_root {root}: is an archive; unpack it (`{unpack.format(root)}`), then give the folder with train, "
            "val and test, or the fer2013.csv, that is in it"
        )
    kinds = {b"PAR1": "a Parquet file", b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture"}
    kind = next((kind for magic, kind in kinds.items() if head.startswith(magic)), "")
    if kind:
        raise UserError(f"--data_root {root}: is {kind}; give a folder of class folders, or fer2013.csv[.gz]")
