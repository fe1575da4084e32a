"""Runs an encoder over many pictures: several batches at a time on a CPU, a captured CUDA graph on a GPU."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from fervit.encoders.pack import pack
from fervit.encoders.registry import Encoder

MAX_WORKERS = 8
"""The number of batches at a time on a CPU; each has about 0.3 GB of activations at batch size 4 and 256 pixels."""
WARM_UP = 3
"""The number of eager runs before a capture, in which cuDNN chooses its algorithms."""


class EncoderRunner:
    """Maps uint8 RGB pictures [n, size, size, 3] to float32 codes [n, seq_len, latent_dim] on the CPU.

    The codes include the average latent. The last batch is filled up, so that the network only ever sees one shape: the
    code of a picture is then the same, bit for bit, whatever other pictures are in its batch.

    On a CPU several workers encode a batch each, with their share of the threads. Threads that share a batch would wait
    for each other at every layer, and all of them for the one that another process has interrupted.

    Args:
        encoder: an encoder on the CPU or a GPU. On a CPU its layers are replaced in place by faster ones.
        batch_size: the number of pictures in a batch.
        threads: the number of threads to compute with on a CPU; None for as many as PyTorch uses.
    """

    def __init__(self, encoder: Encoder, batch_size: int, threads: int | None = None) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self.device = encoder.latent_avg.device
        if self.device.type == "cuda":
            self._graph = _Graph(encoder, batch_size)
        else:
            pack(encoder.network)
            threads = threads or torch.get_num_threads()
            workers = min(threads, MAX_WORKERS)
            self._pool = ThreadPoolExecutor(
                workers, initializer=torch.set_num_threads, initargs=(max(1, threads // workers),)
            )

    @property
    def captured(self) -> bool:
        """Whether batches replay a CUDA graph."""
        return self.device.type == "cuda" and self._graph.captured

    def __call__(self, pixels_nhwc: np.ndarray) -> Tensor:
        if self.device.type == "cuda":
            return self._graph(torch.tensor(pixels_nhwc, device=self.device)).cpu()
        batches = [pixels_nhwc[i : i + self.batch_size] for i in range(0, len(pixels_nhwc), self.batch_size)]
        codes = list(self._pool.map(self._encode_on_cpu, batches))
        fingerprint = self.encoder.fingerprint
        return torch.cat([torch.empty(0, fingerprint.seq_len, fingerprint.latent_dim), *codes])

    def _encode_on_cpu(self, pixels_nhwc: np.ndarray) -> Tensor:
        full = torch.zeros(self.batch_size, *pixels_nhwc.shape[1:], dtype=torch.uint8)
        full[: len(pixels_nhwc)] = torch.tensor(pixels_nhwc)
        with torch.inference_mode():
            return encode_pixels(self.encoder, full)[: len(pixels_nhwc)]


def encode_pixels(encoder: Encoder, pixels_nhwc: Tensor) -> Tensor:
    """Encodes uint8 RGB pictures [n, size, size, 3] into codes [n, seq_len, latent_dim].

    Pixels are scaled as in pSp: (x / 255 - 0.5) / 0.5.
    """
    codes: Tensor = encoder(pixels_nhwc.permute(0, 3, 1, 2).float() / 127.5 - 1)
    return codes


class _Graph:
    """The encoder on a GPU, captured for one batch size and replayed for each batch. It runs eagerly if that fails."""

    def __init__(self, encoder: Encoder, batch_size: int) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()  # only one call at a time may use the input tensor
        size, device = encoder.fingerprint.input_size, encoder.latent_avg.device
        self._input_nhwc = torch.zeros(batch_size, size, size, 3, dtype=torch.uint8, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        with torch.inference_mode(), torch.cuda.device(device):
            self._output = self._warm_up(device)
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph):
                    self._output = encode_pixels(encoder, self._input_nhwc)
                self._graph = graph
            except RuntimeError:  # a driver or an allocator that cannot capture
                torch.cuda.synchronize(device)

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def __call__(self, pixels_nhwc: Tensor) -> Tensor:
        """uint8 pictures [n, size, size, 3] on the GPU -> codes on the GPU, without waiting for the GPU to finish."""
        batch = len(self._input_nhwc)
        codes = torch.empty(len(pixels_nhwc), *self._output.shape[1:], device=pixels_nhwc.device)
        with self._lock, torch.inference_mode(), torch.cuda.device(pixels_nhwc.device):
            for start in range(0, len(pixels_nhwc), batch):
                rows = pixels_nhwc[start : start + batch]
                self._input_nhwc[: len(rows)].copy_(rows)
                if self._graph is not None:
                    self._graph.replay()
                else:
                    self._output = encode_pixels(self._encoder, self._input_nhwc)
                codes[start : start + batch] = self._output[: len(rows)]
        return codes

    def _warm_up(self, device: torch.device) -> Tensor:
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                output = encode_pixels(self._encoder, self._input_nhwc)
        torch.cuda.current_stream(device).wait_stream(stream)
        return output
