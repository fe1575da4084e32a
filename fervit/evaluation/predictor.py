"""Predicts the emotion in a picture with a trained LatentViT and the encoder that its codes come from."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import torch
from torch import Tensor

from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint
from fervit.encoders.fingerprint import UNKNOWN
from fervit.encoders.registry import Encoder, load_encoder
from fervit.encoders.runner import EncoderRunner
from fervit.errors import JobError, UserError
from fervit.evaluation.evaluate import probabilities_of
from fervit.images.align import find_and_align
from fervit.images.detector import FaceDetector
from fervit.images.pictures import read_picture, reason_of, resize
from fervit.io.files import JsonObject, first_line
from fervit.system.gpu import device_at_hand
from fervit.training.failure import is_out_of_memory

BATCH_SIZES = {"cpu": (1, 4), "mps": (1, 4, 16), "cuda": (1, 4, 16, 64)}
"""The numbers of pictures that may go through the encoder at once, on each device."""
AT_ONCE = 256
"""The number of pictures that are held in memory at a time."""
Picture = str | Path | np.ndarray
"""The path of a picture, or its RGB pixels, uint8 [h, w, 3]."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction of a model for one picture."""

    name: str
    """The path of the picture, or "picture <i>" for the i-th one of a list if it was given as pixels."""
    label: str = ""
    """The most probable class; "" if the picture could not be read."""
    confidence: float = 0.0
    """The probability of that class."""
    probabilities: dict[str, float]
    """The probability of each class; empty if the picture could not be read."""
    box: tuple[float, ...] | None = None
    """The frame of the face in pixels: x, y, width, height. None without a face detector."""
    faces: int | None = None
    """The number of faces in the picture, of which the largest is taken. None without a face detector."""
    error: str = ""
    """Why there is no prediction; "" if there is one."""

    def to_json(self) -> JsonObject:
        """The prediction as launch/predict.py prints it, with rounded numbers."""
        found = {"label": self.label, "confidence": round(self.confidence, 6)}
        found |= {"probabilities": {name: round(value, 6) for name, value in self.probabilities.items()}}
        looked = {} if self.box is None else {"box": [round(v, 1) for v in self.box], "faces": self.faces}
        return {"name": self.name, **({"error": self.error} if self.error else {**found, **looked})}


def load(
    path: str | Path,
    *,
    encoder_model: str | Path | None = None,
    encoder_type: str | None = None,
    encoder_module: str | Path | None = None,
    face_detector: str | Path | None = None,
    heads: int | None = None,
) -> TrainedModel:
    """Loads a trained LatentViT in eval mode, ready to be called.

    Args:
        path: a `best/` folder, an export, a run, or a `best_model.pt`, including those of earlier LatentViT scripts.
        encoder_model: the checkpoint of the encoder, which predicting from pictures takes.
        encoder_type: "psp", "e4e", "demo" or a registered one; None for the encoder that the model names.
        encoder_module: a Python file or the import path of a module that registers the encoder; None for none.
        face_detector: the ONNX file of YuNet, with which faces are found and aligned in pictures that are not aligned.
        heads: the number of attention heads of another script's model whose file does not name it.

    Raises:
        UserError: a file is missing or is not what it should be, or the model was trained on codes of another encoder.

    Example:
        model = fervit.load("experiments/demo_20260102_030405/best")
        logits = model(codes)  # [n, 18, 512] -> [n, 7], or of as many classes as it has
    """
    checkpoint = load_checkpoint(Path(path), heads=heads)
    detector = FaceDetector(face_detector) if face_detector is not None else None
    encoder = None
    if any(given is not None for given in (encoder_model, encoder_type, encoder_module)):
        encoder = open_encoder(checkpoint, encoder_model, encoder_type, encoder_module)
    return TrainedModel(checkpoint, encoder, detector)


def open_encoder(
    checkpoint: Checkpoint,
    encoder_model: str | Path | None,
    encoder_type: str | None,
    encoder_module: str | Path | None = None,
) -> Encoder:
    """Loads the encoder that a model was trained on, on a GPU if there is one.

    It computes in the precision of those codes, except that a CPU takes float32 for float16, and a Mac's GPU for any:
    the codes then differ by no more than what float16 rounds off in files.

    Args:
        checkpoint: the model.
        encoder_model: the checkpoint of the encoder; None for the demo encoder.
        encoder_type: "psp", "e4e", "demo" or a registered one; None for the encoder that the model names.
        encoder_module: the Python file or the module that registers the encoder; None for none.

    Raises:
        UserError: the file is not a checkpoint of that encoder, or the model was trained on codes of another encoder.
    """
    trained_on = checkpoint.encoder
    if trained_on is not None and trained_on.encoder == UNKNOWN:
        if encoder_type is None:
            raise UserError(
                "--encoder_type: is needed, since the model was trained on imported codes whose encoder is not "
                "named; give psp or e4e, whichever made them, and its --encoder_model"
            )
        trained_on = None  # the user names it now; the shape of the codes is checked below
    kind = encoder_type or (trained_on.encoder if trained_on else "psp")
    if trained_on and kind != trained_on.encoder:
        raise UserError(f"--encoder_type {kind}: the model was trained on codes of {trained_on}; give that encoder")
    device = device_at_hand(mps=True)
    precision = (trained_on and trained_on.precision) or "float32"
    if device == "mps" or (device == "cpu" and precision == "float16"):
        precision = "float32"
    module = None if encoder_module is None else str(encoder_module)
    encoder = load_encoder(kind, encoder_model, device, precision, module)
    found = encoder.fingerprint
    if trained_on and not found.same_codes(trained_on):
        raise UserError(
            f"--encoder_model {encoder_model}: is {found}, but the model was trained on codes of {trained_on}; give "
            "the checkpoint with that SHA-256"
        )
    expected = (checkpoint.config.seq_len, checkpoint.config.latent_dim)
    if (found.seq_len, found.latent_dim) != expected:
        raise UserError(
            f"--encoder_model {encoder_model}: gives codes of {found.seq_len} x {found.latent_dim}, but the model "
            f"takes {expected[0]} x {expected[1]}; give the encoder that it was trained on"
        )
    return encoder


class TrainedModel(torch.nn.Module):
    """A trained LatentViT. It maps W+ codes [n, 18, 512], a tensor or an array, to logits [n, C].

    Its `labels` name the classes; `config`, `encoder` and `data` are those of its checkpoint.

    Args:
        checkpoint: the model.
        encoder: the encoder, which predicting from pictures takes.
        detector: the face detector, for pictures that are not aligned.
    """

    def __init__(
        self, checkpoint: Checkpoint, encoder: Encoder | None = None, detector: FaceDetector | None = None
    ) -> None:
        super().__init__()
        self.network = checkpoint.model()
        self.labels = checkpoint.label_set.classes
        self.config, self.encoder, self.data = checkpoint.config, checkpoint.encoder, checkpoint.data
        self._detector = detector
        self._runner = _FittingRunner(encoder) if encoder is not None else None
        self._size = encoder.fingerprint.input_size if encoder is not None else 0
        self.eval().requires_grad_(False)  # so that logits turn into arrays; gradients of the codes still flow

    def forward(self, codes_nld: Tensor | np.ndarray) -> Tensor:
        """W+ codes [n, seq_len, latent_dim] of any float type -> logits [n, C]."""
        codes = codes_nld if isinstance(codes_nld, Tensor) else torch.tensor(codes_nld)
        logits: Tensor = self.network(codes.float())
        return logits

    def predict(
        self, pictures: Picture | Iterable[Picture], on_progress: Callable[[int], None] | None = None
    ) -> list[Prediction]:
        """Predicts the emotion in each picture.

        Pictures must be aligned as those of FFHQ are, unless the model was loaded with a face detector. If a picture
        cannot be read or shows no face, its prediction has an `error` instead of a label.

        Args:
            pictures: one picture or several, each a path or RGB pixels, uint8 [h, w, 3].
            on_progress: is called with the number of pictures that were predicted since the last call.

        Raises:
            UserError: the model was loaded without an encoder.
            JobError: memory runs out even for a single picture.
        """
        if self._runner is None:
            raise UserError("predict: needs the encoder; load the model with fervit.load(path, encoder_model=...)")
        given = [pictures] if isinstance(pictures, str | Path | np.ndarray) else list(pictures)
        names = [_name(picture, i) for i, picture in enumerate(given)]
        found: list[Prediction] = []
        for start in range(0, len(given), AT_ONCE):
            found += self._predict(given[start : start + AT_ONCE], names[start : start + AT_ONCE])
            if on_progress is not None:
                on_progress(len(found) - start)
        return found

    def _predict(self, given: list[Picture], names: list[str]) -> list[Prediction]:
        assert self._runner is not None
        faces = [self._prepare(picture) for picture in given]
        good = [i for i, face in enumerate(faces) if face.error == ""]
        predictions = [
            Prediction(name=name, probabilities={}, error=face.error) for name, face in zip(names, faces, strict=True)
        ]
        if not good:
            return predictions
        # Codes are rounded as in files, so that a face gets the same prediction here and in an evaluation.
        codes = self._runner(np.stack([faces[i].pixels for i in good]))
        for i, row in zip(good, probabilities_of(self.network, codes), strict=True):
            predictions[i] = Prediction(
                name=names[i],
                label=self.labels[row.argmax()],
                confidence=float(row.max()),
                probabilities=dict(zip(self.labels, map(float, row), strict=True)),
                box=faces[i].box,
                faces=faces[i].faces,
            )
        return predictions

    def _prepare(self, picture: Picture) -> _Prepared:
        """Reads a picture and cuts out its face, at the size of the encoder's input."""
        try:
            pixels = picture if isinstance(picture, np.ndarray) else read_pixels(picture)
            if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
                raise ValueError(f"pixels must be uint8 [h, w, 3], but are {pixels.dtype} {list(pixels.shape)}")
            if self._detector is None:
                return _Prepared(pixels=resize(pixels, self._size))
            aligned = find_and_align(pixels, self._detector, self._size)
            return _Prepared(pixels=aligned.pixels, box=tuple(map(float, aligned.box)), faces=aligned.faces)
        except Exception as error:  # a picture that cannot be read must not stop the others
            return _Prepared(pixels=np.empty(0), error=reason_of(error))


class _FittingRunner:
    """Encodes pictures in batches that fit their number, and smaller ones where memory is short."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._runner: EncoderRunner | None = None
        self._sizes = BATCH_SIZES[encoder.latent_avg.device.type]
        self._lock = threading.Lock()

    def __call__(self, pixels_nhwc: np.ndarray) -> np.ndarray:
        """Encodes uint8 RGB pictures [n, size, size, 3] into codes, float16 [n, seq_len, latent_dim].

        Raises:
            JobError: memory runs out even for a single picture.
        """
        with self._lock:
            while True:
                size = next((size for size in self._sizes if size >= len(pixels_nhwc)), self._sizes[-1])
                try:
                    return self._of_size(size)(pixels_nhwc).numpy()
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    if size == self._sizes[0]:
                        raise JobError(f"predict: memory is short even for one picture ({first_line(error)})") from None
                self._runner, self._sizes = None, tuple(smaller for smaller in self._sizes if smaller < size)
                gc.collect()
                if torch.cuda.is_initialized():
                    torch.cuda.empty_cache()

    def _of_size(self, size: int) -> EncoderRunner:
        if self._runner is None or self._runner.batch_size != size:
            self._runner = None  # frees its memory first
            self._runner = EncoderRunner(self._encoder, size, dtype=torch.float16)
        return self._runner


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A picture at the size of the encoder's input, or the error that it has."""

    pixels: np.ndarray
    box: tuple[float, ...] | None = None
    faces: int | None = None
    error: str = ""


def read_pixels(path: str | Path) -> np.ndarray:
    """Reads a local picture into RGB pixels, uint8 [h, w, 3]."""
    return read_picture(pafs.LocalFileSystem(), str(path))


def _name(picture: Picture, place: int) -> str:
    return f"picture {place}" if isinstance(picture, np.ndarray) else str(picture)
