"""How fast a GPU encodes and trains, beside what its arithmetic and its memory could do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.acceptance.check import Found, check, goal
from benchmarks.acceptance.data import FER2013_ROWS, small_config, trainer
from benchmarks.encode import GFLOP_AN_IMAGE, encoder_of, random_network, timed
from fervit.encoders.runner import EncoderRunner
from fervit.training.config import TrainConfig
from fervit.training.data import epoch_batches

BYTES_AN_IMAGE = 0.46e9
"""The bytes that the encoder's layers read and write for an image in float16, counted."""
BYTES_A_WEIGHT = 40
"""The bytes that a captured step reads and writes for a weight: 28 of AdamW, 12 of copies of weights and gradients."""


def seconds_of(function: Callable[[], object], device: str, repeats: int) -> float:
    """Returns the least seconds that one call took."""
    return min(timed(function, 1, device)[0] for _ in range(repeats))


def product_rate(device: str, dtype: torch.dtype) -> float:
    """Measures the FLOP/s of a large matrix product."""
    side = 8192 if device == "cuda" else 512
    a = torch.randn(side, side, device=device).to(dtype)
    torch.mm(a, a)
    return 2 * side**3 / seconds_of(lambda: torch.mm(a, a), device, 10)


@check(
    "speed",
    "the arithmetic and the memory of this GPU, by a large product and a copy",
    expected="790 TFLOP/s, 3.0 TB/s",
)
def floors(device: str) -> Found:
    texts = [f"{str(d).removeprefix('torch.')} {product_rate(device, d) / 1e12:.1f} TFLOP/s" for d in _dtypes(device)]
    return Found("INFO", f"{', '.join(texts)}; copy {copy_rate(device) / 1e12:.2f} TB/s")


def copy_rate(device: str) -> float:
    """Measures the bytes/s of a copy in memory, read and written."""
    numbers = torch.empty((2**30 if device == "cuda" else 2**24) // 4, device=device)
    target = torch.empty_like(numbers)
    return 2 * numbers.numel() * 4 / seconds_of(lambda: target.copy_(numbers), device, 10)


def _dtypes(device: str) -> tuple[torch.dtype, ...]:
    return (torch.float16, torch.bfloat16, torch.float32) if device == "cuda" else (torch.float32,)


@check(
    "speed",
    "the encoder's network reaches 40 % of the product's rate",
    expected="1,800-2,400 images/s, 33-44 %",
    limit_s=300,
)
def the_encoder_is_fast(device: str) -> Found:
    precision, batch = ("float16", 64) if device == "cuda" else ("float32", 1)
    runner = EncoderRunner(encoder_of(random_network(), precision, device), batch)
    pixels = np.random.default_rng(0).integers(0, 256, (batch * (16 if device == "cuda" else 1), 256, 256, 3), np.uint8)
    runner(pixels)
    rate = len(pixels) / seconds_of(lambda: runner(pixels), device, 5 if device == "cuda" else 1)
    dtype = torch.float16 if device == "cuda" else torch.float32
    share = rate * GFLOP_AN_IMAGE * 1e9 / product_rate(device, dtype)
    moved = rate * BYTES_AN_IMAGE / copy_rate(device)
    text = (
        f"{rate:.1f} images/s in {precision}, {share:.0%} of the product's rate and {moved:.0%} of the memory's, "
        f"captured: {runner.captured}"
    )
    return goal(device, share >= 0.4, text)


@check(
    "speed", "an epoch of 28,709 with the guide's model takes 0.6 s", expected="0.8-1.05 s, 9-11 % of peak", limit_s=240
)
def an_epoch_is_fast(device: str) -> Found:
    rows = FER2013_ROWS if device == "cuda" else 128
    config = TrainConfig(epochs=9) if device == "cuda" else small_config()
    one = trainer(config, device, rows)
    one.run_epoch()
    best = min(one.run_epoch().seconds for _ in range(3))
    weights = sum(weight.numel() for weight in one.model.parameters())
    rate = 6 * weights * (one.config.seq_len + 1) * rows / best
    share = rate / product_rate(device, one.dtype)
    steps = -(-rows // one.config.batch_size)
    moved = steps * weights * BYTES_A_WEIGHT / best / copy_rate(device)
    text = (
        f"{best:.2f} s an epoch of {rows} with {weights / 1e6:.1f} M weights, {share:.0%} of the product's rate and "
        f"{moved:.0%} of the memory's"
    )
    return goal(device, best <= 0.6, text)


@check("speed", "a captured step is at least twice as fast as an eager one", expected="2x; 440 kernels a step")
def capturing_pays(device: str) -> Found:
    config = TrainConfig() if device == "cuda" else small_config()
    seconds, kernels = [], 0
    for capture in (True, False):
        one = trainer(config, device, rows=2048 if device == "cuda" else 1024, capture=capture)
        one.model.train()
        batches = list(epoch_batches(one.config, 1, one._rows, one._row_weights, one.ranks))[:16]
        for batch in batches[:6]:
            one.step(batch)

        def steps(one=one, batches=batches) -> None:  # type: ignore[no-untyped-def]
            for batch in batches[6:]:
                one.step(batch)

        seconds.append(seconds_of(steps, device, 5) / len(batches[6:]))
        if device == "cuda" and capture:
            kernels = _kernels(steps) // len(batches[6:])
    captured, eager = seconds
    text = (
        f"{1e3 * captured:.2f} ms captured, {1e3 * eager:.2f} eager, {eager / captured:.1f}x; {kernels} kernels a step"
    )
    return goal(device, eager / captured >= 2, text)


def _kernels(steps: Callable[[], None]) -> int:
    """Counts the kernels that run on the GPU."""
    from torch.profiler import DeviceType, ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        steps()
        torch.cuda.synchronize()
    return sum(event.device_type == DeviceType.CUDA for event in profiled.events())
