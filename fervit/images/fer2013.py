"""Kaggle's fer2013.csv, which holds 35,887 grey faces of 48 x 48 pixels in the columns emotion, pixels and Usage.

Paper: Goodfellow et al., "Challenges in Representation Learning" (2013). Kaggle's order of the emotions is not that of
fervit; `fervit.emotions` has the mapping.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.fs as pafs

from fervit.emotions import KAGGLE_EMOTIONS, LABEL_OF_KAGGLE
from fervit.errors import UserError
from fervit.files import first_line
from fervit.images.face_index import SCHEMA, FaceIndex

SPLIT_OF_USAGE = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}


def index_csv(root: str, filesystem: pafs.FileSystem, path: str) -> FaceIndex:
    """Lists the rows of fer2013.csv or fer2013.csv.gz. The first row below the header has the image_id `row-00000`.

    Args:
        root: the path or URI of the file, as the user named it.
        filesystem: the file system that the file is on.
        path: the path of the file on that file system.

    Raises:
        UserError: the file is no CSV, lacks a column, or has a row with an unknown emotion or Usage.
    """
    options = pa.csv.ConvertOptions(column_types={"pixels": pa.large_string()})
    try:
        with filesystem.open_input_stream(path, compression="detect") as stream:
            table = pa.csv.read_csv(stream, convert_options=options)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"--data_root {root}: is no CSV file that can be read ({first_line(error)})") from None
    table = table.rename_columns([name.strip() for name in table.column_names])
    missing = [name for name in ("emotion", "pixels", "Usage") if name not in table.column_names]
    if len(set(table.column_names)) < len(table.column_names):
        raise UserError(f"--data_root {root}: has a column twice ({', '.join(table.column_names)})")
    if missing:
        raise UserError(
            f"--data_root {root}: lacks the column {', '.join(missing)}; fer2013.csv has emotion, pixels, Usage"
        )
    splits = [SPLIT_OF_USAGE.get(str(usage).strip(), "") for usage in table["Usage"].to_pylist()]
    emotions = table["emotion"].to_pylist()
    numbers = range(len(KAGGLE_EMOTIONS))
    for row, (split, emotion) in enumerate(zip(splits, emotions, strict=True)):
        if not split or type(emotion) is not int or emotion not in numbers:
            what = f"emotion {emotion!r}" if split else f"Usage {table['Usage'][row].as_py()!r}"
            rule = "0..6" if split else ", ".join(SPLIT_OF_USAGE)
            raise UserError(f"--data_root {root}: row {row} has {what}; it must be one of {rule}")
    columns = {
        "image_id": [f"row-{row:05d}" for row in range(len(table))],
        "split": splits,
        "label": [LABEL_OF_KAGGLE[emotion] for emotion in emotions],
        "source": pc.cast(table["pixels"], pa.large_string()),
    }
    return FaceIndex(root=root, kind="kaggle", table=pa.table(columns, schema=SCHEMA), filesystem=filesystem)
