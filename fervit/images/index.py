"""Finds out which faces a data root holds, before any picture is opened."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pyarrow.fs as pafs

from fervit.errors import NO_DATA, UserError
from fervit.images import passed_over
from fervit.images.face_index import FaceIndex
from fervit.images.layouts import affectnet, ckplus, ferplus, rafdb
from fervit.images.layouts.listing import Listing, list_folder, readable
from fervit.io.storage import child_of, locate, naming
from fervit.labels.label_set import PREDEFINED, LabelSet


def open_faces(data_root: str, labels: LabelSet | None = None) -> FaceIndex:
    """Lists the faces of a data root.

    Args:
        data_root: a folder of splits or of class folders, Kaggle's fer2013.csv, gzipped or not, or RAF-DB, AffectNet,
            CK+ or FER+ as they come; a path or a URI.
        labels: the label set; None for that of the layout, or what class folders are called (`index_folder`).

    Raises:
        UserError: there is no such path, it holds no picture, or it is laid out in a way that fervit does not know.
    """
    from fervit.images.fer2013 import index_csv
    from fervit.images.folders import index_folder

    filesystem, path = locate(data_root)
    with naming(f"--data_root {data_root}", "cannot be opened"):
        found = filesystem.get_file_info(path)
    if found.type == pafs.FileType.NotFound:
        raise UserError(f"--data_root {data_root}: {NO_DATA}")
    if found.is_file:
        with naming(f"--data_root {data_root}", "cannot be opened"), filesystem.open_input_file(path) as file:
            _refuse_other_files(data_root, file.read(HEAD))
    if found.is_file:
        index = index_csv(data_root, filesystem, path, labels)
    else:
        listing = list_folder(data_root, filesystem, path)
        marked = next((marked for mark in LAYOUTS if (marked := mark(listing)) is not None), None)
        pair = _ferplus_pair(listing.files)
        if marked is not None:
            index = marked.index(listing, labels)
        elif pair:
            index = index_csv(data_root, filesystem, child_of(path, pair), labels or PREDEFINED["ferplus"])
            index = replace(index, passed_over=tuple(sorted((*index.passed_over, *_beside(listing, pair, index)))))
        else:
            index = index_folder(listing, labels)
    if len(index.table) == 0:
        others = f" ({passed_over.brief(index.passed_over)})" if index.passed_over else ""
        raise UserError(
            f"--data_root {data_root}: holds no picture{others}; expected {{train,val,test}}/<class>/*.png or .jpg, "
            "a fer2013.csv, or RAF-DB, AffectNet, CK+ or FER+ as they come"
        )
    return index


LAYOUTS = (rafdb.mark, affectnet.mark, ckplus.mark, ferplus.mark)
"""What recognises the known layouts, each of which has files of its own."""


def _ferplus_pair(files: Sequence[str]) -> str:
    """The path of fer2013.csv, if a folder holds that and FER+'s votes and nothing else of both kinds; else ""."""
    tables = [path for path in files if path.endswith((".csv", ".csv.gz"))]
    faces = [path for path in tables if path.rpartition("/")[2] in ("fer2013.csv", "fer2013.csv.gz")]
    votes = [path for path in tables if ferplus.is_votes(path.rpartition("/")[2])]
    return faces[0] if len(faces) == 1 and votes else ""


def _beside(listing: Listing, pair: str, index: FaceIndex) -> list[passed_over.PassedOver]:
    """The files of a folder that are neither its fer2013.csv nor the votes from which its labels come."""
    voted = index.label_set is PREDEFINED["ferplus"]
    others = [
        path for path in listing.files if path != pair and not (voted and ferplus.is_votes(path.rpartition("/")[2]))
    ]
    reasons = (passed_over.NO_LABEL if listing.is_picture(path) else passed_over.NO_PICTURE for path in others)
    found = [passed_over.PassedOver(readable(path), why) for path, why in zip(others, reasons, strict=True)]
    return listing.passed_over + found


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
