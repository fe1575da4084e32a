"""The folder of a split: the Parquet part files with its latents, on any file system that pyarrow opens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fervit.errors import UserError
from fervit.io.storage import child_of, delete, locate, naming, write_whole
from fervit.latents.schema import About, about, float32_of
from fervit.system.hardware import usable_cpus

REMOTE_THREADS = 32
"""The number of threads that read from an object store, where most of the time is spent waiting."""
UNREADABLE = "holds no latents that can be read"

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def list_parts(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    """The paths of the Parquet files of a split, sorted by name. Names that begin with `.` or `_` are not data."""
    names = _list(filesystem, folder)
    return [child_of(folder, name) for name in names if name.endswith(".parquet") and name[0] not in "._"]


def leftovers(folder: str) -> list[str]:
    """The paths of unfinished files that a killed job left in a local folder; none for other file systems."""
    filesystem, inner = locate(folder)
    if not isinstance(filesystem, pafs.LocalFileSystem):
        return []
    return [
        child_of(inner, name)
        for name in _list(filesystem, inner)
        if name.startswith((".part-", "._errors", "._float32"))
    ]


def about_in(folder: str) -> About | None:
    """The encoder and the classes of the codes that the folder of a split holds, or None if it holds no files.

    Only the schemas of the files are read.

    Raises:
        UserError: a file is no Parquet file of latents, or two files hold codes of different encoders or classes.
    """
    filesystem, inner = locate(folder)
    paths = list_parts(filesystem, inner)

    def read(path: str) -> About:
        with naming(path, UNREADABLE):
            schema = pq.read_schema(path, filesystem=filesystem)
        return about(schema, path)

    return _same(paths, _in_threads(filesystem, read, paths))


def float32_in(folder: str) -> list[str]:
    """The faces of a split whose codes come from float32 in a folder of float16, as its parts note.

    Raises:
        UserError: a file is no Parquet file.
    """
    filesystem, inner = locate(folder)

    def read(path: str) -> list[str]:
        with naming(path, UNREADABLE):
            return float32_of(pq.read_schema(path, filesystem=filesystem))

    return [name for names in _in_threads(filesystem, read, list_parts(filesystem, inner)) for name in names]


def read_split(folder: str, columns: list[str]) -> tuple[About | None, pa.Table]:
    """Reads some columns of all part files of a split, in the order of the files' names.

    Each row group is decoded by a thread of its own. pyarrow would give each column a thread, but nearly all bytes are
    in one column.

    Args:
        folder: the folder or URI of the split.
        columns: the names of the columns to read.

    Returns:
        The encoder and the classes, or None if there are no files, and the table.

    Raises:
        UserError: a file is no whole Parquet file of latents, or two files hold codes of different encoders or classes.
    """
    filesystem, inner = locate(folder)
    paths = list_parts(filesystem, inner)

    def read_group(path: str, group: int) -> tuple[About, int, pa.Table]:
        with naming(path, UNREADABLE), filesystem.open_input_file(path) as file:
            parquet = pq.ParquetFile(file)
            found = about(parquet.schema_arrow, path)
            if group >= parquet.num_row_groups:
                table = parquet.schema_arrow.empty_table()
            else:
                table = parquet.read_row_group(group, columns=columns, use_threads=False)
            return found, parquet.num_row_groups, table.select(columns).replace_schema_metadata(None)

    first = _in_threads(filesystem, lambda path: read_group(path, 0), paths)
    others = [(path, i) for path, (_, n, _) in zip(paths, first, strict=True) for i in range(1, n)]
    more = _in_threads(filesystem, lambda task: read_group(*task)[2], others)
    tables = {(path, 0): table for path, (_, _, table) in zip(paths, first, strict=True)}
    tables |= dict(zip(others, more, strict=True))
    of_all = _same(paths, [found for found, _, _ in first])
    if not tables:
        return None, pa.table({name: [] for name in columns})
    return of_all, pa.concat_tables([tables[key] for key in sorted(tables)])


def write_part(part: pa.Table, folder: str, ids: Iterable[str]) -> None:
    """Writes a part file that appears whole or not at all.

    Args:
        part: the rows.
        folder: the folder or URI of the split.
        ids: texts that the name of the file is a hash of. A part that is written again under the same ids replaces
            itself.
    """
    filesystem, inner = locate(folder)
    name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    # Codes do not repeat, so dictionary encoding would make files larger and reading four times slower.
    write_whole(
        filesystem,
        child_of(inner, f"part-{name}.parquet"),
        lambda file: pq.write_table(part, file, compression="none", use_dictionary=False),
    )


def drop_duplicates(folder: str) -> int:
    """Removes rows whose image_id is also in an earlier part file, and returns how many.

    Such rows appear when a task of a killed job finishes its part after the next job has listed the folder.
    """
    filesystem, inner = locate(folder)
    paths = list_parts(filesystem, inner)
    if len(paths) < 2:
        return 0

    def read_ids(path: str) -> pa.Array:
        with naming(path, UNREADABLE):
            return pq.read_table(path, columns=["image_id"], filesystem=filesystem)["image_id"].combine_chunks()

    ids = _in_threads(filesystem, read_ids, paths)
    if pc.count_distinct(pa.chunked_array(ids)).as_py() == sum(map(len, ids)):
        return 0
    dropped = 0
    seen = pa.array([], pa.string())
    for path, of_part in zip(paths, ids, strict=True):
        new = pc.invert(pc.is_in(of_part, value_set=seen))
        twice = len(of_part) - pc.sum(new).as_py()
        if twice:
            whole = pq.read_table(path, filesystem=filesystem)
            kept = whole.filter(new)
            if len(kept):
                write_part(kept, folder, [path, *kept["image_id"].to_pylist()])  # no other part's name
            delete(filesystem, path)
        dropped += twice
        seen = pa.concat_arrays([seen, of_part.filter(new)])
    return dropped


def _list(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    with naming(folder, UNREADABLE):
        infos = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    return sorted(info.base_name for info in infos if info.is_file)


def _same(paths: list[str], found: list[About]) -> About | None:
    for path, one in zip(paths, found, strict=True):
        if one.encoder != found[0].encoder:
            raise UserError(
                f"{path}: its codes come from encoder {one.encoder.to_json()}, those before it from "
                f"{found[0].encoder.to_json()}; codes of two encoders never mix: encode into a folder of its own"
            )
        if one.label_set != found[0].label_set:
            raise UserError(
                f"{path}: its labels are {one.label_set}, those before it {found[0].label_set}; label sets never mix: "
                "encode into a folder of its own"
            )
    return found[0] if found else None


def _in_threads(filesystem: pafs.FileSystem, function: Callable[[_In], _Out], items: list[_In]) -> list[_Out]:
    threads = usable_cpus() if isinstance(filesystem, pafs.LocalFileSystem) else REMOTE_THREADS
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
