"""Cuts the faces out of pictures as for FFHQ, into class folders that `launch/encode.py` reads."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from queue import SimpleQueue

from PIL import Image

from fervit.images.align import find_and_align
from fervit.images.detector import FaceDetector
from fervit.images.face_index import FaceIndex
from fervit.images.pictures import SUFFIXES, reason_of
from fervit.io.disk import remove, sync_folder
from fervit.io.files import whole_file, write_text
from fervit.io.json_lines import text_of
from fervit.labels.emotions import split_of
from fervit.progress import Progress
from fervit.system.hardware import usable_cpus

ERRORS_FILE = "_errors.jsonl"
AT_ONCE = 256
"""The number of rows whose sources are held in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class Preprocessed:
    """The numbers of pictures that `preprocess` has handled."""

    done: int
    """The number of faces that were written."""
    present: int
    """The number of faces that an earlier command had written."""
    failed: int
    """The number of pictures without a face, or that cannot be read."""
    several: int
    """The number of pictures with more than one face, of which the largest was taken."""


def preprocess(index: FaceIndex, output_dir: Path, detector_model: Path, size: int = 256) -> Preprocessed:
    """Writes the aligned face of each picture as `output_dir/<split>/<emotion>/<name>.png`.

    Faces that an earlier call has written are left as they are. Pictures without a face and pictures that cannot be
    read are listed with the reason in `output_dir/<split>/_errors.jsonl`.

    Args:
        index: the pictures.
        output_dir: the folder for the faces, which is made if it does not exist.
        detector_model: the ONNX file of YuNet.
        size: the side of the faces in pixels.

    Raises:
        UserError: the file of the detector is missing or does not hold YuNet.
    """
    threads = usable_cpus()
    detectors: SimpleQueue[FaceDetector] = SimpleQueue()
    for _ in range(threads):
        detectors.put(FaceDetector(detector_model))
    progress = Progress(total=len(index.table), unit="faces", label="align")
    names = _names(index)
    present = several = 0
    errors: dict[str, list[dict[str, str]]] = {split: [] for split in index.splits()}

    def work(source: str, path: Path) -> tuple[int, str]:
        """Writes the face of a picture; returns the number of faces in it, and the error or ""."""
        detector = detectors.get()
        try:
            aligned = find_and_align(index.read(source), detector, size)
        except Exception as error:  # a picture that cannot be read must not stop the others
            return 0, reason_of(error)
        finally:
            detectors.put(detector)
        with whole_file(path, one_of_many=True) as aside:
            Image.fromarray(aligned.pixels).save(aside, "PNG")
        return aligned.faces, ""

    pool = ThreadPoolExecutor(threads)
    try:
        for batch in index.table.to_batches(max_chunksize=AT_ONCE):
            tasks = [(row, output_dir / names[row["image_id"], row["split"]]) for row in batch.to_pylist()]
            missing = [(row, path) for row, path in tasks if not path.is_file()]
            present += len(tasks) - len(missing)
            results = pool.map(lambda task: work(task[0]["source"], task[1]), missing)
            for (row, _), (faces, error) in zip(missing, results, strict=True):
                several += faces > 1
                progress.add(int(not error), failed=int(bool(error)))
                if error:
                    errors[row["split"]].append({"image_id": row["image_id"], "error": error})
            for folder in {path.parent for _, path in missing if path.is_file()}:
                sync_folder(folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted: {progress.done} faces were written and stay; the same command goes on from there"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
        progress.close()
    _write_errors(errors, output_dir)
    return Preprocessed(done=progress.done, present=present, failed=progress.failed, several=several)


def _write_errors(errors: dict[str, list[dict[str, str]]], output_dir: Path) -> None:
    for split, lines in errors.items():
        path = output_dir / split / ERRORS_FILE
        remove(path)
        if lines:
            write_text(path, text_of(lines))


def _names(index: FaceIndex) -> dict[tuple[str, str], str]:
    """The path of each face below the output folder: (image_id, split) -> path.

    No two faces have the same path: a picture's suffix is kept where two would be equal without it.
    """
    columns = [index.table[name].to_pylist() for name in ("image_id", "split", "label")]
    rows: list[tuple[tuple[str, str], str, str]] = []
    for image_id, split, label in zip(*columns, strict=True):
        parts, emotion = PurePosixPath(image_id).parts, index.label_set.classes[label]
        parts = parts[1:] if len(parts) > 1 and split in (parts[0], split_of(parts[0])) else parts
        parts = parts[1:] if len(parts) > 1 and index.label_set.class_of(parts[0]) == emotion else parts
        whole = PurePosixPath(split, emotion, *parts)
        without = whole.with_suffix("") if whole.suffix.lower() in SUFFIXES else whole
        rows.append(((image_id, split), str(without), str(whole)))
    stems = Counter(stem for _, stem, _ in rows)
    names: dict[tuple[str, str], str] = {}
    taken: set[str] = set()
    for key, stem, place in rows:
        name, n = stem if stems[stem] == 1 else place, 1
        while name in taken:
            n += 1
            name = f"{place}_{n}"
        taken.add(name)
        names[key] = f"{name}.png"
    return names
