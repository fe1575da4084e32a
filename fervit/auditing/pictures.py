"""Reads every picture of a data root once, and keeps what the audit needs of each: hashes, measures, a thumbnail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from PIL import Image

from fervit.images.detector import FaceDetector
from fervit.images.face_index import FaceIndex
from fervit.images.pictures import reason_of
from fervit.progress import Progress, Say
from fervit.system.hardware import usable_cpus

THUMBNAIL = 48
"""The side of a thumbnail in pixels, that of FER2013's faces."""
AT_ONCE = 256
"""The number of rows whose sources are held in memory at a time."""
SHARP_SIDE = 256
"""Pictures with a longer side are shrunk to this before their sharpness is measured, so that sizes compare."""
DETECTOR_SIDE = 160
"""The side in pixels to which smaller pictures are enlarged for the detector, half of that in `launch/preprocess.py`.
On 300 faces of FER2013 the answer differed for two, in less than half the time."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a data set, whether they are known by their pictures or by their codes alone."""

    image_ids: list[str]
    splits: np.ndarray
    """The split of each row, text [n]."""
    labels: np.ndarray
    """The class of each row, int64 [n]; -1 if it is unknown."""
    classes: tuple[str, ...]
    """The names of the classes."""
    digests: list[str]
    """A hash of each row's pixels; "" if they are not known."""

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True, kw_only=True)
class Pictures(Rows):
    """The rows of a data root with what was measured on their pixels. Unreadable pictures have zeros."""

    hashes: np.ndarray
    """The perceptual hash, uint64 [n] (`imagehash.phash`: signs of the low frequencies of a cosine transform)."""
    brightness: np.ndarray
    """The mean of the grey values 0..255, float32 [n]."""
    contrast: np.ndarray
    """The standard deviation of the grey values, float32 [n]; 0 for a picture of one colour."""
    sharpness: np.ndarray
    """The standard deviation of the Laplacian in multiples of the contrast, float32 [n]; small where blurred."""
    faces: np.ndarray
    """The number of faces that the detector has found, int64 [n]; -1 where none was asked or the picture is
    unreadable."""
    thumbnails: np.ndarray
    """Grey values, uint8 [n, 48, 48]."""
    unreadable: dict[int, str]
    """The row of each picture that cannot be read -> the reason."""
    sources: list[str]
    """Where the pixels of each row are; see `FaceIndex`."""


def measure(index: FaceIndex, detector: str | Path | None = None, say: Say | None = print) -> Pictures:
    """Reads and measures all pictures of an index, on all CPUs.

    Args:
        index: the pictures.
        detector: the ONNX file of YuNet; None looks for no faces.
        say: shows the progress; None for silence.

    Raises:
        UserError: the file of the detector is missing or does not hold YuNet.
    """
    n, threads = len(index.table), usable_cpus()
    found = Pictures(
        image_ids=index.table["image_id"].to_pylist(),
        splits=np.array(index.table["split"].to_pylist(), dtype=np.str_),
        labels=index.table["label"].to_numpy().astype(np.int64),
        classes=index.label_set.classes,
        digests=[""] * n,
        hashes=np.zeros(n, np.uint64),
        brightness=np.zeros(n, np.float32),
        contrast=np.zeros(n, np.float32),
        sharpness=np.zeros(n, np.float32),
        faces=np.full(n, -1),
        thumbnails=np.zeros((n, THUMBNAIL, THUMBNAIL), np.uint8),
        unreadable={},
        sources=index.table["source"].to_pylist(),
    )
    progress = Progress(total=n, unit="pictures", label="look", say=say)
    with _detectors(detector, threads) as count_faces, ThreadPoolExecutor(threads) as pool:

        def work(row: int) -> bool:
            try:
                _measure_one(found, row, index.read(found.sources[row]), count_faces)
            except Exception as error:  # a picture that cannot be read must not stop the others
                found.unreadable[row] = reason_of(error)
                return False
            return True

        try:
            for start in range(0, n, AT_ONCE):
                done = sum(pool.map(work, range(start, min(n, start + AT_ONCE))))
                progress.add(done, failed=min(AT_ONCE, n - start) - done)
        finally:
            progress.close()
    return found


def _measure_one(into: Pictures, row: int, pixels: np.ndarray, count_faces: Callable[[np.ndarray], int]) -> None:
    """Measures a picture, RGB uint8 [h, w, 3], and writes the results into a row."""
    import cv2
    import imagehash

    into.digests[row] = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).data).hexdigest()
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    into.hashes[row] = np.packbits(imagehash.phash(Image.fromarray(grey)).hash).view(">u8")[0]
    into.brightness[row], into.contrast[row] = grey.mean(), grey.std()
    side = max(grey.shape)
    small = grey
    if side > SHARP_SIDE:
        size = tuple(max(1, round(length * SHARP_SIDE / side)) for length in grey.shape[::-1])
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    edges = cv2.Laplacian(small, cv2.CV_32F)
    into.sharpness[row] = edges.std() / max(float(small.std()), 1.0)
    into.thumbnails[row] = (
        grey
        if grey.shape == (THUMBNAIL, THUMBNAIL)
        else cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    )
    into.faces[row] = count_faces(pixels)


@contextmanager
def _detectors(model: str | Path | None, threads: int) -> Iterator[Callable[[np.ndarray], int]]:
    """A context that gives a function for several threads, which counts the faces of a picture; -1 without a model."""
    if model is None:
        yield lambda _: -1
        return
    import cv2

    idle: SimpleQueue[FaceDetector] = SimpleQueue()
    for _ in range(threads):
        idle.put(FaceDetector(model, smallest_side=DETECTOR_SIDE))

    def count(pixels: np.ndarray) -> int:
        detector = idle.get()
        try:
            return len(detector.find(pixels))
        finally:
            idle.put(detector)

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the pictures are shared out over threads already
    try:
        yield count
    finally:
        cv2.setNumThreads(before)
