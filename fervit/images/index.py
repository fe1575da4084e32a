"""Finds out which faces a data root holds, before any picture is opened."""

from __future__ import annotations

import pyarrow.fs as pafs

from fervit.errors import UserError
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
    index = (index_csv if found.is_file else index_folder)(data_root, filesystem, path)
    if len(index.table) == 0:
        raise UserError(
            f"--data_root {data_root}: holds no picture; expected {{train,val,test}}/<emotion>/*.png or .jpg, or a "
            "fer2013.csv"
        )
    return index
