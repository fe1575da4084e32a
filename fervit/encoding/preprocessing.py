"""Cuts the faces out of pictures as for FFHQ, on Ray Data, into class folders that `launch/encode.py` reads.

The mechanism is that of encoding: what is there is not made again, pictures that fail are listed and left out of later
jobs, and every machine of a cluster takes part.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
from PIL import Image

from fervit.encoding.failures import ERRORS_FILE, FaceList, read_faces
from fervit.encoding.ray_data import Columns, Job, Receipts, follow, map_faces
from fervit.errors import JobError, UserError
from fervit.images.align import find_and_align
from fervit.images.detector import FaceDetector
from fervit.images.face_index import FaceIndex, SourceKind, read_source
from fervit.images.face_names import Owners, names_of_faces, read_owners, write_owners
from fervit.images.pictures import reason_of
from fervit.io.disk import remove, sync_folder
from fervit.io.files import whole_file
from fervit.io.storage import absolute, cannot_write, child, child_of, locate, naming, write_whole
from fervit.progress import Say

BLOCK_ROWS = 64
"""The number of pictures that a task takes: some seconds of work."""
BLOCKS_A_CPU = 4
"""With fewer pictures, tasks take fewer, so that each CPU has so many of them."""


@dataclass(frozen=True, kw_only=True)
class PreprocessPlan:
    """What a job of preprocessing has to do."""

    index: FaceIndex
    """The pictures of which there is no face yet."""
    out: str
    """The absolute path or the URI of the folder for the faces."""
    paths: list[str]
    """The path of each face below that folder, in the order of `index`."""
    present: int
    """The number of faces that earlier jobs have written."""
    failed_before: int
    """The number of pictures that failed in an earlier job and are left out of this one."""
    folders: dict[str, str]
    """The folder of each split."""
    failures: dict[str, dict[str, str]]
    """For each split, the failures of earlier jobs that stay in its list: image_id -> reason."""
    leftovers: tuple[str, ...]
    """Unfinished files of a killed job."""
    owners: Owners = field(default_factory=dict)
    """The faces of all pictures, those of earlier jobs too, to be written before the first face."""
    again: frozenset[str] = frozenset()
    """The faces that are there and are made again; `owners` that are written before do not name them."""

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, kw_only=True)
class Preprocessed:
    """What a job of preprocessing has done."""

    done: int
    """The number of faces that were written."""
    failed: int
    """The number of pictures without a face, or that cannot be read."""
    several: int
    """The number of pictures with more than one face, of which the largest was taken."""
    seconds: float
    hosts: dict[str, int]
    """The number of faces that each machine has cut out."""


def plan_preprocessing(index: FaceIndex, out: str, *, retry_errors: bool = False) -> PreprocessPlan:
    """Compares the pictures with what `out` holds.

    Args:
        index: the pictures.
        out: the folder or URI for the faces, which get the paths <split>/<class>/<name>.png in it.
        retry_errors: whether to try pictures again that failed in an earlier job.

    Raises:
        UserError: the folder cannot be listed.
    """
    out = absolute(out)
    folders = {split: child(out, split) for split in index.splits()}
    owners, (there, leftovers) = read_owners(out), _files_in(out, index.splits())
    names, again = names_of_faces(index, owners, there)
    missing = np.array([name not in there or name in again for name in names], bool)
    ids, splits = index.table["image_id"].to_pylist(), index.table["split"].to_pylist()
    lists = {split: read_faces(folder) for split, folder in folders.items()}
    listed = np.array([name in lists[split] for name, split in zip(ids, splits, strict=True)], bool)
    failed_before = missing & listed
    wanted = missing if retry_errors else missing & ~listed
    tried = {(ids[row], splits[row]) for row in np.flatnonzero(wanted | ~missing)}
    failures = {
        split: {name: why for name, why in reasons.items() if (name, split) not in tried}
        for split, reasons in lists.items()
    }
    return PreprocessPlan(
        index=index.with_table(index.table.filter(pa.array(wanted))),
        out=out,
        paths=[names[row] for row in np.flatnonzero(wanted)],
        present=int((~missing).sum()),
        failed_before=0 if retry_errors else int(failed_before.sum()),
        folders=folders,
        failures=failures,
        leftovers=leftovers,
        owners=owners | dict(zip(names, ids, strict=True)),
        again=again,
    )


def preprocess_faces(
    plan: PreprocessPlan, detector: str, size: int, cpus: float, say: Say | None = print
) -> Preprocessed:
    """Cuts out the faces of a plan on the Ray cluster that this process is connected to.

    Args:
        plan: from `plan_preprocessing`.
        detector: the absolute path of YuNet's ONNX file, on every node.
        size: the side of the faces in pixels.
        cpus: the CPUs of the cluster.
        say: where progress goes; see `Progress`.

    Raises:
        JobError: no picture has given a face, neither in an earlier job nor in this one; the disk is full; or Ray has
            lost a part of the job. What was written stays, and the same call continues from there.
    """
    failures, several = FaceList(plan.folders, plan.failures), Counter[str]()

    def taken_in(rows: Receipts, failed: int) -> None:
        several["n"] += sum(row["faces"] > 1 for row in rows)

    def finish() -> None:
        for path in plan.leftovers:
            remove(Path(path))
        if plan.again:
            _note_owners(plan.out, plan.owners)

    rows = plan.index.table.append_column("path", pa.array(plan.paths, pa.string()))
    block_rows = min(BLOCK_ROWS, max(1, int(len(plan) / (BLOCKS_A_CPU * max(1, cpus)))))
    arguments = {"kind": plan.index.kind, "filesystem": plan.index.filesystem, "detector": detector}
    receipts: Iterable[Receipts] = ()
    if len(plan):
        _note_owners(plan.out, {name: of for name, of in plan.owners.items() if name not in plan.again})
        receipts = map_faces(rows, block_rows, align_block, **arguments, size=size, out=plan.out)
    job = Job(folder=plan.out, total=len(plan), label="align", verb="aligned")
    followed = follow(job, receipts, failures, taken_in, finish, say)
    if followed.done == 0 and plan.present == 0:
        name, reason = failures.first or ("", "failed before; --retry_errors tries them again")
        raise JobError(
            f"no face was found in any of the {len(plan) + plan.failed_before} pictures of {plan.index.root}: "
            f"{name + ': ' if name else ''}{reason}; all reasons are in {plan.out}, {ERRORS_FILE} of each split"
        )
    return Preprocessed(
        done=followed.done,
        failed=followed.failed,
        several=several["n"],
        seconds=followed.seconds,
        hosts=followed.hosts,
    )


def _note_owners(out: str, owners: Owners) -> None:
    """Writes which picture has which face.

    Raises:
        JobError: the folder cannot be written.
    """
    try:
        write_owners(out, owners)
    except OSError as error:
        raise JobError(cannot_write(out, error)) from None


def align_block(
    block: pa.Table, kind: SourceKind, filesystem: pafs.FileSystem, detector: str, size: int, out: str
) -> Columns:
    """Finds the largest face in each picture of a block and writes it aligned.

    Args:
        block: the rows of the index, with the column `path`: that of the face below `out`.
        kind: the kind of the index.
        filesystem: the file system of the pictures.
        detector: the path of YuNet's ONNX file.
        size: the side of the faces in pixels.
        out: the folder or URI for the faces.

    Returns:
        The columns of `Receipts`, and `faces`, the number of faces in each picture. What must end the whole job is
        reported in `fatal` rather than raised, since Ray Data would surround an exception with a long text.
    """
    errors, faces, fatal = [""] * len(block), np.zeros(len(block), np.int64), ""
    try:
        finder = _detector(detector)
    except UserError as error:
        fatal = f"{error} (every node needs the file, under that path)"
    written: set[Path] = set()
    for i, row in enumerate(block.to_pylist() if not fatal else ()):
        try:
            aligned = find_and_align(read_source(kind, filesystem, row["source"]), finder, size)
        except Exception as error:  # whatever is wrong with one picture must not stop the job
            errors[i] = reason_of(error)
            continue
        faces[i] = aligned.faces
        try:
            _write(child(out, *PurePosixPath(row["path"]).parts), aligned.pixels, written)
        except OSError as error:
            fatal = cannot_write(out, error)
            break
    for folder in written:
        sync_folder(folder)
    return {
        **{name: np.array(block[name].to_pylist(), object) for name in ("image_id", "split")},
        "error": np.array(errors, object),
        "faces": faces,
        "host": np.array([socket.gethostname()] * len(block), object),
        "fatal": np.array([fatal] * len(block), object),
    }


def _write(path: str, pixels: np.ndarray, written: set[Path]) -> None:
    """Writes a face; `written` gets its folder if that has yet to be synced."""
    filesystem, inner = locate(path)
    picture = Image.fromarray(pixels)
    if not isinstance(filesystem, pafs.LocalFileSystem):
        write_whole(filesystem, inner, lambda file: picture.save(file, "PNG"))
        return
    with whole_file(Path(inner), one_of_many=True) as aside:
        picture.save(aside, "PNG")
    written.add(Path(inner).parent)


@lru_cache(maxsize=1)
def _detector(model: str) -> FaceDetector:
    """The detector of this process, which tasks use one after the other."""
    import cv2

    cv2.setNumThreads(1)  # a task has one CPU
    return FaceDetector(model)


def _files_in(out: str, splits: Iterable[str]) -> tuple[set[str], tuple[str, ...]]:
    """The files in the folders of splits, by their paths below `out`, and the local paths of unfinished ones."""
    filesystem, inner = locate(out)
    there, leftovers = set(), []
    for split in splits:
        selector = pafs.FileSelector(child_of(inner, split), recursive=True, allow_not_found=True)
        with naming(child(out, split), "cannot be listed"):
            infos = filesystem.get_file_info(selector)
        for info in infos:
            if info.is_file and info.base_name.startswith(".") and isinstance(filesystem, pafs.LocalFileSystem):
                leftovers += [info.path] if ".png." in info.base_name else []
            elif info.is_file:
                there.add(str(PurePosixPath(info.path).relative_to(inner)))
    return there, tuple(leftovers)


def found_by_class(index: FaceIndex, out: str) -> dict[str, tuple[int, int]]:
    """Counts the pictures of each class in which a face was found, by the lists of those that failed.

    Args:
        index: all pictures.
        out: the folder or URI of the faces.

    Returns:
        The name of each class -> the number of its faces, and of its pictures.
    """
    failed = {split: read_faces(child(absolute(out), split)) for split in index.splits()}
    columns = (index.table[name].to_pylist() for name in ("image_id", "split", "label"))
    found, whole = Counter[int](), Counter[int]()
    for image_id, split, label in zip(*columns, strict=True):
        whole[label] += 1
        found[label] += image_id not in failed[split]
    classes = index.label_set.classes
    return {classes[label]: (found[label], whole[label]) for label in sorted(whole)}


def pairs_for_preview(index: FaceIndex, out: str, a_class: int) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Reads some pictures of each class, and their faces.

    Args:
        index: all pictures.
        out: the folder or URI of the faces.
        a_class: the number of pictures of each class, spread over the index.

    Returns:
        The name of each class -> pairs of a picture and its face, RGB uint8 [h, w, 3]; without those that are gone.
    """
    out, found = absolute(out), {}
    there, _ = _files_in(out, index.splits())
    filesystem, inner = locate(out)
    names = np.array(names_of_faces(index, read_owners(out), there).paths, object)
    written = np.array([name in there for name in names], bool)
    for label, name in enumerate(index.label_set.classes):
        of_class = pc.equal(index.table["label"], label).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(of_class & written)
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, a_class).round().astype(int))] if len(rows) else rows
        pairs = []
        for row in chosen.tolist():
            face = child_of(inner, *PurePosixPath(names[row]).parts)
            try:
                pairs.append((index.read(index.table["source"][row].as_py()), read_source("file", filesystem, face)))
            except Exception:  # it was moved since
                continue
        if pairs:
            found[name] = pairs
    return found
