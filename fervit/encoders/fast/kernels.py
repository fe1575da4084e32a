"""Two passes over memory as kernels of a GPU, in Triton, which PyTorch installs for NVIDIA's and AMD's GPUs.

PyTorch makes a pass of each operation: of the bias behind a convolution, of PReLU, of the gate and of the sum of a
residual block. Their arithmetic is nothing beside the reading and writing. Each kernel here reads and writes its
tensors once. It computes in float32 and rounds once. Elements do not depend on each other, so that the result is the
same bit for bit whatever the batch, the number of programs, and the GPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, CHANNELS = 64, 64
"""The pixels and the channels that a program of a kernel computes."""


def bias_prelu_(x_bchw: Tensor, bias_c: Tensor, slope_c: Tensor) -> Tensor:
    """Adds a bias to each channel, multiplies what is below zero by the channel's slope, and returns x, in place.

    Args:
        x_bchw: [batch, channels, h, w] in channels_last, of any float type.
        bias_c: [channels].
        slope_c: [channels].
    """
    batch, channels, h, w = _shape(x_bchw)
    rows = batch * h * w
    if rows:
        grid = (triton.cdiv(rows, ROWS), triton.cdiv(channels, CHANNELS))
        _bias_prelu[grid](x_bchw, bias_c, slope_c, rows, channels, ROWS, CHANNELS)
    return x_bchw


def gated_sum_(x_bchw: Tensor, bias_c: Tensor, gate_bc: Tensor, other_bchw: Tensor, other_bias_c: Tensor) -> Tensor:
    """Computes (x + bias) * gate + other + its bias into x, and returns it.

    Args:
        x_bchw: [batch, channels, h, w] in channels_last, of any float type.
        bias_c: [channels].
        gate_bc: [batch, channels], contiguous.
        other_bchw: [batch, channels, h, w], whose channels lie beside each other; its pixels may be spaced.
        other_bias_c: [channels].
    """
    batch, channels, h, w = _shape(x_bchw)
    if other_bchw.shape != x_bchw.shape or other_bchw.stride(1) != 1 or not gate_bc.is_contiguous():
        raise ValueError("the operands of a gated sum must have the same shape, and channels side by side")
    if x_bchw.numel():
        grid = (triton.cdiv(h * w, ROWS), triton.cdiv(channels, CHANNELS), batch)
        strides = (other_bchw.stride(0), other_bchw.stride(2), other_bchw.stride(3))
        _gated_sum[grid](
            x_bchw, bias_c, gate_bc, other_bchw, other_bias_c, h * w, w, *strides, channels, ROWS, CHANNELS
        )
    return x_bchw


def _shape(x_bchw: Tensor) -> torch.Size:
    if not x_bchw.is_contiguous(memory_format=torch.channels_last):
        raise ValueError("the pixels of a tensor must be in channels_last")
    return x_bchw.shape


@triton.jit
def _bias_prelu(x, bias, slope, rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):  # noqa: N803
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    within = (row[:, None] < rows) & known[None, :]
    place = x + row[:, None] * channels + channel[None, :]
    value = tl.load(place, mask=within).to(tl.float32)
    value += tl.load(bias + channel, mask=known).to(tl.float32)[None, :]
    below = value * tl.load(slope + channel, mask=known).to(tl.float32)[None, :]
    tl.store(place, tl.where(value > 0, value, below), mask=within)


@triton.jit
def _gated_sum(
    x,
    bias,
    gate,
    other,
    other_bias,
    pixels,
    width,
    batch_stride,
    row_stride,
    column_stride,
    channels,
    ROWS: tl.constexpr,  # noqa: N803
    CHANNELS: tl.constexpr,  # noqa: N803
):
    pixel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    image = tl.program_id(2).to(tl.int64)
    known = channel < channels
    within = (pixel[:, None] < pixels) & known[None, :]
    place = x + (image * pixels + pixel[:, None]) * channels + channel[None, :]
    value = tl.load(place, mask=within).to(tl.float32) + tl.load(bias + channel, mask=known).to(tl.float32)[None, :]
    factor = tl.load(gate + image * channels + channel, mask=known).to(tl.float32)
    spaced = image * batch_stride + (pixel // width) * row_stride + (pixel % width) * column_stride
    addend = tl.load(other + spaced[:, None] + channel[None, :], mask=within).to(tl.float32)
    addend += tl.load(other_bias + channel, mask=known).to(tl.float32)[None, :]
    tl.store(place, value * factor[None, :] + addend, mask=within)
