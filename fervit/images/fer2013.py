"""Kaggle's fer2013.csv, which holds 35,887 grey faces of 48 x 48 pixels in the columns emotion, pixels and Usage.

Paper: Goodfellow et al., "Challenges in Representation Learning" (2013). Kaggle's order of the emotions is not that of
fervit; `fervit.labels.label_set` has the mapping.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.fs as pafs

from fervit.errors import UserError
from fervit.images.face_index import SCHEMA, FaceIndex
from fervit.images.layouts.ferplus import read_votes, votes_beside
from fervit.images.passed_over import BROKEN_ROW, LEFT_OUT_CLASS, PassedOver
from fervit.io.files import first_line
from fervit.labels.emotions import KAGGLE_EMOTIONS, emotion_of, split_of
from fervit.labels.label_set import PREDEFINED, SEVEN, LabelSet

USAGES = ("Training", "PublicTest", "PrivateTest")
"""FER2013's names of train, val and test."""
COLUMNS = ("emotion", "pixels", "Usage")


def index_csv(root: str, filesystem: pafs.FileSystem, path: str, labels: LabelSet | None = None) -> FaceIndex:
    """Lists the rows of fer2013.csv or fer2013.csv.gz. The first row below the header has the image_id `row-00000`.

    Emotions may be Kaggle's numbers, also as 3.0, or names. Rows with too many or too few cells, such as a last one
    that a download has cut off, are passed over. Other columns, such as the index of pandas, are not read.

    With FER+'s label set, the labels are those of the taggers' majority in fer2013new.csv, which must lie beside it.

    Args:
        root: the path or URI of the file, as the user named it.
        filesystem: the file system that the file is on.
        path: the path of the file on that file system.
        labels: the label set; None for the seven emotions.

    Raises:
        UserError: the file is no CSV, lacks a column, or has a row with an unknown emotion or Usage.
    """
    try:
        table, broken = _read(filesystem, path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"--data_root {root}: is no CSV file that can be read ({first_line(error)})") from None
    table = _with_known_columns(root, table)
    label_set = labels or SEVEN
    numbers = [row for row in range(len(table) + len(broken)) if row not in broken]
    votes = _votes(root, filesystem, path, len(numbers)) if label_set is PREDEFINED["ferplus"] else None
    classes = _classes(root, label_set, numbers, table["emotion"].to_pylist()) if votes is None else votes
    kept, rows, passed_over = [], [], [PassedOver(f"row-{row:05d}", BROKEN_ROW) for row in broken]
    for i, (row, usage) in enumerate(zip(numbers, table["Usage"].to_pylist(), strict=True)):
        split, meant = split_of(str(usage)), classes[i]
        if split is None:
            rule = f"one of {', '.join(USAGES)}, or a name of train, val or test"
            raise UserError(f"--data_root {root}: row {row} has Usage {usage!r}; it must be {rule}")
        if meant in label_set:
            kept.append(i)
            rows.append((f"row-{row:05d}", split, label_set.index(meant)))
        else:
            passed_over.append(PassedOver(f"row-{row:05d}", meant))
    pixels = pc.fill_null(pc.cast(table["pixels"], pa.large_string()), "")
    columns = {
        **{name: [one[i] for one in rows] for i, name in enumerate(("image_id", "split", "label"))},
        "source": pixels if len(kept) == len(numbers) else pixels.take(pa.array(kept, pa.int64())),
    }
    return FaceIndex(
        root=root,
        kind="kaggle",
        table=pa.table(columns, schema=SCHEMA),
        filesystem=filesystem,
        label_set=label_set,
        passed_over=tuple(sorted(passed_over)),
        remarks=() if votes is None else ("FER+: majority labels of fer2013new.csv",),
    )


def _votes(root: str, filesystem: pafs.FileSystem, path: str, n: int) -> list[str]:
    """The class of each row by FER+'s majority, or why it has none.

    Raises:
        UserError: FER+'s file is not there, or it has another number of rows.
    """
    beside = votes_beside(filesystem, path)
    if beside is None:
        raise UserError(
            f"--data_root {root}: its numbers are FER2013's; FER+'s labels are in fer2013new.csv, which must lie "
            "beside it"
        )
    votes = read_votes(filesystem, beside)
    if len(votes) != n:
        raise UserError(
            f"{beside}: has {len(votes)} rows, but {root} {n}; the two belong together row by row, so give both whole"
        )
    return [meant for _, _, meant in votes]


def _classes(root: str, label_set: LabelSet, numbers: list[int], emotions: list[object]) -> list[str]:
    """The class of each row by its emotion, or that the label set leaves it out.

    Raises:
        UserError: an emotion is unknown.
    """
    known = _numbers_of(label_set)
    found, meant_by = [], dict[object, str]()
    for row, emotion in zip(numbers, emotions, strict=True):
        if emotion not in meant_by:
            meant = _class(emotion, label_set, known)
            if meant is None:
                whole = len(known) or 7
                rule = f"0..{whole - 1}, or the name of an emotion" if known else f"the names of {label_set}, in words"
                raise UserError(f"--data_root {root}: row {row} has emotion {emotion!r}; it must be one of {rule}")
            meant_by[emotion] = meant
        found.append(meant_by[emotion])
    return found


def _numbers_of(label_set: LabelSet) -> dict[int, str]:
    """What numbers mean in such a CSV: Kaggle's, with contempt after them as in CK+'s, or those of the user's file."""
    if label_set is SEVEN or label_set is PREDEFINED["ckplus"]:
        return dict(enumerate((*KAGGLE_EMOTIONS, "contempt")[: 7 if label_set is SEVEN else 8]))
    return {} if label_set.predefined else dict(label_set.numbers)


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


def _class(emotion: object, label_set: LabelSet, known: dict[int, str]) -> str | None:
    """The class of an emotion, which is a number or a name, or that the set leaves it out; None if it is neither."""
    if isinstance(emotion, str):
        try:
            emotion = float(emotion)
        except ValueError:
            name = label_set.class_of(str(emotion))
            return name or (LEFT_OUT_CLASS if emotion_of(str(emotion)) else None)
    if isinstance(emotion, bool) or not isinstance(emotion, int | float) or not float(emotion).is_integer():
        return None
    if emotion not in known:  # a class of the user may be called "1"
        return None if label_set.predefined else label_set.class_of(str(int(emotion)))
    named = known[int(emotion)]
    return named if named in label_set else LEFT_OUT_CLASS
