"""Runs an encoder over many pictures: several batches at a time on a CPU, copies beside the arithmetic on a GPU."""

from __future__ import annotations

import queue
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fervit.encoders.fast.merge import merge
from fervit.encoders.fast.pack import pack
from fervit.encoders.registry import Encoder
from fervit.system.gpu import Capture, index_of, try_capture, work_lock, work_stream

MAX_WORKERS = 8
"""The number of batches at a time on a CPU; each has about 0.3 GB of activations at batch size 4 and 256 pixels."""
WARM_UP = 3
"""The number of eager runs before a capture, in which cuDNN prepares its algorithms."""
SLOTS_A_CALL = 2
"""The number of batches of a call that are on their way at the same time: one computes while another is copied."""
CALLS_AT_ONCE = 2
"""The number of calls whose batches may be on their way at the same time, so that a GPU has work while one call ends
and the next begins."""


class Codes(NamedTuple):
    """The codes of n pictures, on the CPU."""

    values: Tensor
    """[n, seq_len, latent_dim], of the runner's type."""
    finite: Tensor
    """Whether all numbers of a code are finite in that type, bool [n]."""


class EncoderRunner:
    """Maps uint8 RGB pictures [n, size, size, 3] to codes [n, seq_len, latent_dim] on the CPU.

    The codes include the average latent. The last batch is filled up, so that the network only ever sees one shape: the
    code of a picture is then the same, bit for bit, whatever other pictures are in its batch.

    On a CPU several workers encode a batch each, with their share of the threads. Threads that share a batch would wait
    for each other at every layer, and all of them for the one that another process has interrupted.

    Several threads may call a runner at the same time.

    Args:
        encoder: an encoder on any device. On a CPU and on a GPU its layers are replaced in place by faster ones.
        batch_size: the number of pictures in a batch.
        threads: the number of threads to compute with on a CPU; None for as many as PyTorch uses.
        dtype: the type of the codes, to which they are rounded on the device.
    """

    def __init__(
        self, encoder: Encoder, batch_size: int, threads: int | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self.dtype = dtype
        self.device = encoder.latent_avg.device
        self._pipeline: Pipeline | None = None
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                merge(encoder.network)
            self._pipeline = Pipeline(encoder, batch_size, dtype)
            return
        threads = threads or torch.get_num_threads()
        workers = 1
        if self.device.type == "cpu":
            pack(encoder.network)
            workers = min(threads, MAX_WORKERS)
        self._pool = ThreadPoolExecutor(
            workers, initializer=torch.set_num_threads, initargs=(max(1, threads // workers),)
        )

    @property
    def captured(self) -> bool:
        """Whether batches replay a CUDA graph."""
        return self._pipeline is not None and self._pipeline.captured

    def __call__(self, pixels_nhwc: np.ndarray) -> Tensor:
        """Encodes pictures, and returns the values of their codes."""
        return self.encode(pixels_nhwc).values

    def encode(self, pixels_nhwc: np.ndarray) -> Codes:
        """Encodes pictures.

        Raises:
            RuntimeError: memory ran out (`fervit.training.failure.is_out_of_memory`), or the device failed.
        """
        if self._pipeline is not None:
            return self._pipeline(pixels_nhwc)
        batches = [pixels_nhwc[i : i + self.batch_size] for i in range(0, len(pixels_nhwc), self.batch_size)]
        return _joined(list(self._pool.map(self._encode_batch, batches)), self.encoder, self.dtype)

    def _encode_batch(self, pixels_nhwc: np.ndarray) -> Codes:
        full = torch.zeros(self.batch_size, *pixels_nhwc.shape[1:], dtype=torch.uint8)
        full[: len(pixels_nhwc)] = torch.tensor(pixels_nhwc)
        with torch.inference_mode():
            codes = rounded(self.encoder, full.to(self.device), self.dtype)
            return Codes(*(tensor[: len(pixels_nhwc)].cpu() for tensor in codes))


def encode_pixels(encoder: Encoder, pixels_nhwc: Tensor) -> Tensor:
    """Encodes uint8 RGB pictures [n, size, size, 3] into codes [n, seq_len, latent_dim] in float32.

    Pixels are scaled as in pSp: (x / 255 - 0.5) / 0.5.
    """
    codes: Tensor = encoder(pixels_nhwc.permute(0, 3, 1, 2).float() / 127.5 - 1)
    return codes


def rounded(encoder: Encoder, pixels_nhwc: Tensor, dtype: torch.dtype) -> Codes:
    """Encodes uint8 RGB pictures [n, size, size, 3], rounds the codes, and looks for infinities, on their device."""
    values = encode_pixels(encoder, pixels_nhwc).to(dtype)
    return Codes(values, values.isfinite().flatten(1).all(dim=1))


def _joined(parts: list[Codes], encoder: Encoder, dtype: torch.dtype) -> Codes:
    fingerprint = encoder.fingerprint
    none = Codes(
        torch.empty(0, fingerprint.seq_len, fingerprint.latent_dim, dtype=dtype), torch.empty(0, dtype=torch.bool)
    )
    return Codes(*map(torch.cat, zip(none, *parts, strict=True)))


class Pipeline:
    """Encodes on a device while pictures are copied to it and codes back, each on a stream of its own.

    A batch goes through a slot: page-locked memory of the host, and memory of the device. A call fills the slots one
    after the other and waits only for those that it needs again, and at its end for its last ones.

    On a CPU, whose streams in PyTorch do nothing, the same steps run one after the other. That is for tests.

    Args:
        encoder: the encoder.
        batch_size: the number of pictures in a batch.
        dtype: the type of the codes.
    """

    def __init__(self, encoder: Encoder, batch_size: int, dtype: torch.dtype) -> None:
        self._batch_size, self._encoder, self._dtype = batch_size, encoder, dtype
        self._device = encoder.latent_avg.device
        self._on_gpu = self._device.type == "cuda"
        self._module = torch.get_device_module(self._device)
        size = encoder.fingerprint.input_size
        self._input_nhwc = torch.zeros(batch_size, size, size, 3, dtype=torch.uint8, device=self._device)
        self._capture: Capture | None = None
        with work_lock, self._on_device(), torch.inference_mode():
            self._upload, self._download = self._module.Stream(), self._module.Stream()
            self._compute = work_stream(index_of(self._device)) if self._on_gpu else self._module.Stream()
            self._compute.wait_stream(self._module.current_stream())
            with self._module.stream(self._compute):
                for _ in range(WARM_UP if self._on_gpu else 1):
                    codes = self._compute_eagerly()
            if self._on_gpu:
                self._capture = try_capture(self._compute_eagerly, self._device)
            self._slots: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
            for _ in range(SLOTS_A_CALL * CALLS_AT_ONCE):
                self._slots.put(_Slot(self._input_nhwc, codes, self._event))
            self._module.synchronize()

    @property
    def captured(self) -> bool:
        """Whether batches replay a CUDA graph. If capturing one failed, they run eagerly."""
        return self._capture is not None

    def __call__(self, pixels_nhwc: np.ndarray) -> Codes:
        """Encodes uint8 pictures [n, size, size, 3]."""
        parts: list[Codes] = []
        pending: deque[tuple[_Slot, int]] = deque()
        try:
            for start in range(0, len(pixels_nhwc), self._batch_size):
                if len(pending) == SLOTS_A_CALL:
                    parts.append(self._collect(*pending.popleft()))
                rows = pixels_nhwc[start : start + self._batch_size]
                slot = self._free_slot()
                while slot is None and pending:  # other calls have all slots, and may wait for those of this one
                    parts.append(self._collect(*pending.popleft()))
                    slot = self._free_slot()
                pending.append((slot or self._slots.get(), len(rows)))
                self._send(pending[-1][0], rows)
            while pending:
                parts.append(self._collect(*pending.popleft()))
        finally:
            for slot, _ in pending:  # of a call that failed
                self._slots.put(slot)
        return _joined(parts, self._encoder, self._dtype)

    def _free_slot(self) -> _Slot | None:
        try:
            return self._slots.get_nowait()
        except queue.Empty:
            return None

    def _send(self, slot: _Slot, rows_nhwc: np.ndarray) -> None:
        """Starts the encoding of a batch, and returns while it is on its way."""
        slot.host_pixels.numpy()[: len(rows_nhwc)] = rows_nhwc
        with work_lock, self._on_device(), torch.inference_mode():
            with self._module.stream(self._upload):
                slot.pixels.copy_(slot.host_pixels, non_blocking=True)
                slot.uploaded.record(self._upload)
            with self._module.stream(self._compute):
                slot.uploaded.wait(self._compute)
                self._input_nhwc.copy_(slot.pixels)
                if self._capture is not None:
                    self._capture.graph.replay()
                    codes = self._capture.result
                else:
                    codes = self._compute_eagerly()
                for place, tensor in zip(slot.codes, codes, strict=True):
                    place.copy_(tensor)
                slot.computed.record(self._compute)
            with self._module.stream(self._download):
                slot.computed.wait(self._download)
                for place, tensor in zip(slot.host_codes, slot.codes, strict=True):
                    place.copy_(tensor, non_blocking=True)
                slot.downloaded.record(self._download)

    def _collect(self, slot: _Slot, n: int) -> Codes:
        """Waits for a batch, and frees its slot."""
        try:
            slot.downloaded.synchronize()
            return Codes(*(tensor[:n].clone() for tensor in slot.host_codes))
        finally:
            self._slots.put(slot)

    def _compute_eagerly(self) -> Codes:
        return rounded(self._encoder, self._input_nhwc, self._dtype)

    def _on_device(self) -> Any:
        return torch.cuda.device(self._device) if self._on_gpu else nullcontext()

    def _event(self) -> Any:
        return torch.cuda.Event(blocking=True) if self._on_gpu else self._module.Event()


class _Slot:
    """The memory of a batch on its way, and the events that say how far it is."""

    def __init__(self, pixels: Tensor, codes: Codes, event: Any) -> None:
        pinned = pixels.is_cuda
        self.host_pixels = torch.zeros(pixels.shape, dtype=pixels.dtype, pin_memory=pinned)
        self.pixels = torch.zeros_like(pixels)
        self.codes = Codes(*map(torch.zeros_like, codes))
        self.host_codes = Codes(*(torch.zeros(each.shape, dtype=each.dtype, pin_memory=pinned) for each in codes))
        self.uploaded, self.computed, self.downloaded = event(), event(), event()
