"""Kaggle's fer2013.csv, which holds 35,887 grey faces of 48 x 48 pixels in the columns emotion, pixels and Usage.

Paper: Goodfellow et al., "Challenges in Representation Learning" (2013). Kaggle's order of the emotions is not that of
fervit; `fervit.emotions` has the mapping.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.fs as pafs

from fervit.emotions import EMOTIONS, KAGGLE_EMOTIONS, LABEL_OF_KAGGLE, emotion_of
from fervit.errors import UserError
from fervit.files import first_line
from fervit.images.face_index import SCHEMA, FaceIndex
from fervit.images.passed_over import BROKEN_ROW, PassedOver

SPLIT_OF_USAGE = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}


COLUMNS = ("emotion", "pixels", "Usage")


def index_csv(root: str, filesystem: pafs.FileSystem, path: str) -> FaceIndex:
    """Lists the rows of fer2013.csv or fer2013.csv.gz. The first row below the header has the image_id `row-00000`.

    Emotions may be Kaggle's numbers, also as 3.0, or names. Rows with too many or too few cells, such as a last one
    that a download has cut off, are passed over. Other columns, such as the index of pandas, are not read.

    Args:
        root: the path or URI of the file, as the user named it.
        filesystem: the file system that the file is on.
        path: the path of the file on that file system.

    Raises:
        UserError: the file is no CSV, lacks a column, or has a row with an unknown emotion or Usage.
    """
    try:
        table, broken = _read(filesystem, path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"--data_root {root}: is no CSV file that can be read ({first_line(error)})") from None
    table = _with_known_columns(root, table)
    numbers = [row for row in range(len(table) + len(broken)) if row not in broken]
    labels, splits = [], []
    for row, emotion, usage in zip(numbers, table["emotion"].to_pylist(), table["Usage"].to_pylist(), strict=True):
        split, label = SPLIT_OF_USAGE.get(str(usage).strip(), ""), _label(emotion)
        if not split or label is None:
            what = f"emotion {emotion!r}" if split else f"Usage {usage!r}"
            rule = "0..6, or the name of an emotion" if split else ", ".join(SPLIT_OF_USAGE)
            raise UserError(f"--data_root {root}: row {row} has {what}; it must be one of {rule}")
        labels.append(label)
        splits.append(split)
    columns = {
        "image_id": [f"row-{row:05d}" for row in numbers],
        "split": splits,
        "label": labels,
        "source": pc.fill_null(pc.cast(table["pixels"], pa.large_string()), ""),
    }
    return FaceIndex(
        root=root,
        kind="kaggle",
        table=pa.table(columns, schema=SCHEMA),
        filesystem=filesystem,
        passed_over=tuple(PassedOver(f"row-{row:05d}", BROKEN_ROW) for row in sorted(broken)),
    )


def _read(filesystem: pafs.FileSystem, path: str) -> tuple[pa.Table, set[int]]:
    """Reads a CSV, and returns it with the numbers of the rows that have too many or too few cells."""
    with filesystem.open_input_stream(path, compression="detect") as stream:
        head = stream.read(4096).decode("utf-8-sig", "replace").partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    table, broken = _parse(filesystem, path, delimiter, use_threads=True)
    if broken:  # only one thread counts the rows
        table, broken = _parse(filesystem, path, delimiter, use_threads=False)
    return table, {number - 2 for number in broken if number is not None}  # the header is the first row


def _parse(
    filesystem: pafs.FileSystem, path: str, delimiter: str, *, use_threads: bool
) -> tuple[pa.Table, list[int | None]]:
    broken: list[int | None] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        broken.append(row.number)
        return "skip"

    options = pa.csv.ConvertOptions(column_types={"pixels": pa.large_string(), " pixels": pa.large_string()})
    with filesystem.open_input_stream(path, compression="detect") as stream:
        table = pa.csv.read_csv(
            stream,
            read_options=pa.csv.ReadOptions(use_threads=use_threads),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, invalid_row_handler=skip),
            convert_options=options,
        )
    return table, broken


def _with_known_columns(root: str, table: pa.Table) -> pa.Table:
    """The table with its columns named as Kaggle does, however they are capitalised.

    Raises:
        UserError: a column is missing, or there twice.
    """
    known = {name.lower(): name for name in COLUMNS}
    names = [known.get(name.strip().lower(), name.strip()) for name in table.column_names]
    table = table.rename_columns(names)
    missing = [name for name in COLUMNS if name not in names]
    twice = [name for name in COLUMNS if names.count(name) > 1]
    if twice:
        raise UserError(f"--data_root {root}: has a column twice ({', '.join(names)})")
    if missing:
        raise UserError(
            f"--data_root {root}: lacks the column {', '.join(missing)}; fer2013.csv has emotion, pixels, Usage"
        )
    return table.select(COLUMNS)


def _label(emotion: object) -> int | None:
    """The label of an emotion, which is Kaggle's number or a name; None if it is neither."""
    if isinstance(emotion, str):
        name = emotion_of(emotion)
        if name is not None:
            return EMOTIONS.index(name)
        try:
            emotion = float(emotion)
        except ValueError:
            return None
    if isinstance(emotion, bool) or not isinstance(emotion, int | float) or emotion not in range(len(KAGGLE_EMOTIONS)):
        return None
    return LABEL_OF_KAGGLE[int(emotion)]
