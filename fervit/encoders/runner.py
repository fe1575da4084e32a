"""Runs an encoder over pictures in batches of one fixed size; on a GPU each batch replays a captured graph."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

from fervit.encoders.pack import pack
from fervit.encoders.registry import Encoder

WARM_UP = 3
"""Eager runs before a capture: cuDNN chooses its algorithms in them."""


class EncoderRunner:
    """uint8 RGB pictures [n, size, size, 3] -> codes [n, seq_len, latent_dim], average included.

    The last batch is filled up, so that the network only ever sees one shape: a picture's code is then the same, bit
    for bit, whatever stands beside it in its batch.

    Args:
        encoder: on the CPU or a GPU; the runner takes it over.
        batch_size: pictures that go through the network at once.
    """

    def __init__(self, encoder: Encoder, batch_size: int) -> None:
        self.encoder = encoder
        self.device = encoder.latent_avg.device
        size = encoder.fingerprint.size
        self._input_nhwc = torch.zeros(batch_size, size, size, 3, dtype=torch.uint8, device=self.device)
        self._lock = threading.Lock()  # one batch at a time owns the input
        self._graph: torch.cuda.CUDAGraph | None = None
        self._codes: Tensor | None = None
        if self.device.type == "cuda":
            self._capture()
        else:
            pack(encoder.network)

    @property
    def captured(self) -> bool:
        """Whether batches replay a CUDA graph."""
        return self._graph is not None

    def __call__(self, pixels_nhwc: np.ndarray) -> Tensor:
        """The codes as float32 on the CPU."""
        n, batch = len(pixels_nhwc), len(self._input_nhwc)
        fingerprint = self.encoder.fingerprint
        shape = (n, fingerprint.seq_len, fingerprint.latent_dim)
        with self._lock, torch.inference_mode():
            pixels = torch.tensor(pixels_nhwc, device=self.device)
            codes = torch.empty(shape, device=self.device)
            for start in range(0, n, batch):
                rows = pixels[start : start + batch]
                self.fill(rows)
                codes[start : start + batch] = self.run()[: len(rows)]
            return codes.cpu()

    def fill(self, pixels_nhwc: Tensor) -> None:
        """Puts pictures, at most a batch, at the beginning of the input."""
        self._input_nhwc[: len(pixels_nhwc)].copy_(pixels_nhwc)

    def run(self) -> Tensor:
        """The codes [batch_size, seq_len, latent_dim] of what the input holds; the next call may overwrite them."""
        if self._graph is None:
            return self._encode()
        assert self._codes is not None
        self._graph.replay()
        return self._codes

    def _encode(self) -> Tensor:
        # As pSp has it, (x / 255 - 0.5) / 0.5; channels_last needs no transposition in memory.
        images_nchw = self._input_nhwc.permute(0, 3, 1, 2).float() / 127.5 - 1
        codes: Tensor = self.encoder(images_nchw)
        return codes

    def _capture(self) -> None:
        with torch.inference_mode():
            stream = torch.cuda.Stream(self.device)
            stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    self._encode()
            torch.cuda.current_stream(self.device).wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph):
                    self._codes = self._encode()
            except RuntimeError:  # a driver or an allocator that cannot capture: batches then run eagerly
                torch.cuda.synchronize(self.device)
                return
            self._graph = graph
