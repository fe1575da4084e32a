"""The stages that a block of faces goes through, which Ray Data calls: it is decoded, encoded, and written."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.encoding.plan import EncoderChoice
from fervit.encoding.ray_data import Columns, this_address
from fervit.errors import UserError
from fervit.images.face_index import SourceKind, read_source
from fervit.images.pictures import pixels_sha256, reason_of, resize
from fervit.io.files import first_line
from fervit.io.storage import cannot_write
from fervit.labels.label_set import SEVEN, LabelSet
from fervit.latents.parts import write_part
from fervit.latents.schema import schema, table, with_float32

if TYPE_CHECKING:
    from fervit.encoders.runner import EncoderRunner

RETRY_BATCH = 4
"""The number of faces that are encoded again at once in float32, which takes twice the memory."""


def decode_block(block: pa.Table, kind: SourceKind, filesystem: pafs.FileSystem, size: int) -> Columns:
    """Reads the pictures of n rows of an index: the column `pixels`, RGB uint8 [n, size, size, 3].

    A face that cannot be read has its reason in the column `error`, which is "" for the others.
    """
    pixels = np.zeros((len(block), size, size, 3), np.uint8)
    errors = []
    for i, source in enumerate(block["source"].to_pylist()):
        try:
            pixels[i] = resize(read_source(kind, filesystem, source), size)
            errors.append("")
        except Exception as error:  # whatever is wrong with one picture must not stop the job
            errors.append(reason_of(error))
    sha256 = [pixels_sha256(picture) for picture in pixels]
    return {**names_of(block), "sha256": _objects(sha256), "pixels": pixels, "error": _objects(errors)}


def names_of(block: pa.Table) -> Columns:
    """The columns image_id, split and label of a block."""
    return {
        "image_id": _objects(block["image_id"].to_pylist()),
        "split": _objects(block["split"].to_pylist()),
        "label": block["label"].to_numpy(),
    }


class EncoderActor:
    """The actor that holds the encoder and turns blocks of pixels into blocks of codes.

    If the encoder cannot be loaded, every block gets the reason in a column `fatal`. Faces whose codes are not finite
    in float16 arithmetic, which ends at 65,504, are encoded again in float32 and marked in the column `in_float32`.
    Two blocks may be in the actor at the same time.

    Args:
        encoder: the encoder to load, with its precision set.
        fingerprint: the fingerprint that the encoder must have on this machine, too.
        batch_size: the number of faces that go through the network at once.
        device: "cpu", "cuda" or "mps".
        threads: the number of threads to compute with on a CPU.
    """

    def __init__(
        self, encoder: EncoderChoice, fingerprint: EncoderFingerprint, batch_size: int, device: str, threads: int
    ) -> None:
        import torch

        from fervit.encoders.registry import load_encoder
        from fervit.encoders.runner import EncoderRunner

        self.failure, self.host = "", socket.gethostname()
        self._encoder, self._device, self._threads = encoder, device, threads
        self._exact: EncoderRunner | None = None
        self._lock = threading.Lock()
        try:
            loaded = load_encoder(
                encoder.kind, encoder.checkpoint, device, encoder.precision or "float32", encoder.module
            )
            if loaded.fingerprint != fingerprint:
                raise UserError(f"--encoder_model {encoder.checkpoint}: is another file here than where the job began")
            self.runner = EncoderRunner(loaded, batch_size, threads, torch.float16)
        except UserError as error:
            self.failure = f"an encoder could not start: {error} (every node needs the file, under that path)"
        except (RuntimeError, MemoryError) as error:
            self.failure = f"an encoder could not start: {_why(device, error, batch_size)}"

    def __call__(self, block: Columns) -> Columns:
        pixels, errors = block.pop("pixels"), block["error"].astype(object)
        if self.failure:
            return {**block, "fatal": _objects([self.failure] * len(errors))}
        block["host"] = _objects([self.host] * len(errors))
        good = np.flatnonzero(errors == "")
        try:
            found, finite, again = self._encode(pixels if len(good) == len(pixels) else pixels[good])
        except (RuntimeError, MemoryError) as error:
            failure = f"an encoder failed: {_resources(error, self.runner.batch_size)}"
            return {**block, "fatal": _objects([failure] * len(errors))}
        for i in np.flatnonzero(~finite):
            found[i], errors[good[i]] = 0, "the encoder's code has numbers that are not finite in float16"
        codes, in_float32 = found, np.zeros(len(pixels), bool)
        if len(good) < len(pixels):
            codes = np.zeros((len(pixels), *found.shape[1:]), found.dtype)
            codes[good] = found
        in_float32[good] = again & finite
        block["latent"], block["error"], block["in_float32"] = codes, errors, in_float32
        return block

    def _encode(self, pixels_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Encodes n pictures.

        Returns:
            The codes, float16 [n, seq_len, latent_dim]; whether each is finite; and whether it is from float32.
        """
        values, finite = (tensor.numpy() for tensor in self.runner.encode(pixels_nhwc))
        again = np.zeros(len(finite), bool)
        if self.runner.encoder.fingerprint.precision == "float16":
            again = ~finite
        if again.any():
            values[again], finite[again] = self._exactly(pixels_nhwc[again])
        return values, finite, again

    def _exactly(self, pixels_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encodes n pictures in float32: the codes, and whether each is finite when it is rounded to float16.

        The encoder in float32 is loaded when it is needed for the first time.
        """
        from fervit.encoders.registry import load_encoder
        from fervit.encoders.runner import EncoderRunner

        with self._lock:
            if self._exact is None:
                encoder = self._encoder
                exact = load_encoder(encoder.kind, encoder.checkpoint, self._device, "float32", encoder.module)
                size = min(RETRY_BATCH, self.runner.batch_size)
                self._exact = EncoderRunner(exact, size, self._threads, self.runner.dtype)
        values, finite = self._exact.encode(pixels_nhwc)
        return values.numpy(), finite.numpy()


def write_block(
    block: Columns, folders: dict[str, str], fingerprint: EncoderFingerprint, label_set: LabelSet = SEVEN
) -> Columns:
    """Writes a part file for each split of a block, and returns what happened to each row.

    A block belongs to one split unless Ray bundles blocks; each face is written into the folder of its own split. A
    part is named after the ids in it, so that a block that Ray encodes twice replaces its own files.

    Args:
        block: the rows with their codes, from `EncoderActor` or `load_block`.
        folders: the folder of each split.
        fingerprint: the fingerprint of the codes.
        label_set: the classes.

    Returns:
        The columns image_id, split, error, host (the machine that encoded the row), in_float32 (whether its code in
        float16 was not finite) and fatal. What must end the whole job is reported in `fatal` rather than raised, since
        Ray Data would surround an exception with a long text.
    """
    splits = block["split"].astype(object)
    fatal = block["fatal"][0] if "fatal" in block else ""
    for split in () if fatal else dict.fromkeys(splits):
        folder = folders[split]
        try:
            rows = {name: values[splits == split] for name, values in block.items()}
            _write_rows(rows, folder, schema(fingerprint, label_set))
        except OSError as error:
            fatal = cannot_write(folder, error)
            break
    return {
        **{name: block[name] for name in ("image_id", "split", "error")},
        "fatal": _objects([fatal] * len(splits)),
        "host": block.get("host", _objects([""] * len(splits))),
        "in_float32": block.get("in_float32", np.zeros(len(splits), bool)),
    }


def _write_rows(rows: Columns, folder: str, schema: pa.Schema) -> None:
    """Writes the part file of the rows that have no error."""
    good = rows["error"] == ""
    if good.any():
        ids, sha256 = (rows[name][good].tolist() for name in ("image_id", "sha256"))
        part = table(ids, rows["label"][good], sha256, rows["latent"][good], schema)
        if "in_float32" in rows:  # in the part itself, since a kill may come before the driver has listed them
            part = with_float32(part, rows["image_id"][good & rows["in_float32"].astype(bool)].tolist())
        write_part(part, folder, rows["image_id"].tolist())


def _why(device: str, error: Exception, batch_size: int) -> str:
    """Why an encoder could not start: its node's GPU, which nobody has looked at if the node has joined later, or
    memory."""
    from fervit.cluster.gpus import UnusableGpuError, check_gpu
    from fervit.training.failure import is_out_of_memory

    if not is_out_of_memory(error):
        try:
            check_gpu(device, this_address())
        except UnusableGpuError as unusable:
            return str(unusable)
        except RuntimeError as short:
            error = short
    return _resources(error, batch_size)


def _resources(error: Exception, batch_size: int) -> str:
    from fervit.training.failure import is_device_fault, is_out_of_memory

    if is_device_fault(error):
        return f"its GPU failed ({first_line(error)}); if it does so again, leave that GPU out"
    if is_out_of_memory(error):
        return f"memory ran out; lower --batch_size (now {batch_size}) or --actors"
    return f"{first_line(error)}; if memory ran out, lower --batch_size (now {batch_size}) or --actors"


def _objects(values: list[str]) -> np.ndarray:
    return np.array(values, object)
