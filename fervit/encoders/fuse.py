"""The fast form of an encoder for inference: the same arithmetic in fewer passes over memory, in float32 or bfloat16.

A BatchNorm behind a convolution becomes part of its weights; one before a padded convolution stays, since the border
would differ. Weights lie in channels_last, which oneDNN and cuDNN prefer. Of the last convolution of each style head,
a 2 x 2 input sees only four taps of nine, which make it a linear layer. What decides little of the time but much of the
error (BatchNorm's statistics, the closing linear layer) stays in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fervit.encoders.irse50 import Bottleneck, SqueezeExcite
from fervit.encoders.psp import EqualLinear, StyleHead


def fuse(module: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Turns a part of an encoder in eval mode, or a whole one, into its fast form, in place; returns it.

    No tensor of the result shares memory with those before it, so a mapped checkpoint can be let go.
    """
    for part in list(module.modules()):
        if isinstance(part, nn.Sequential) and len(part) > 0 and isinstance(part[0], Bottleneck):
            for i, block in enumerate(part):
                assert isinstance(block, Bottleneck)
                part[i] = FusedBottleneck(block)
        elif isinstance(part, StyleHead):
            last = part.convs[-2]
            assert isinstance(last, nn.Conv2d)
            assert isinstance(part.linear, EqualLinear)
            part.convs[-2] = LastConv(last)
            part.linear = Linear32(part.linear)
        elif isinstance(part, nn.LeakyReLU):
            part.inplace = True
        elif isinstance(part, nn.Sequential) and len(part) > 1:  # the stem, and the shortcuts that change the width
            _fuse_pair(part, 0)
    for part in module.modules():
        _copy_tensors(part, torch.float32 if isinstance(part, nn.BatchNorm2d | Linear32) else dtype)
    return module.requires_grad_(False)


class FusedBottleneck(nn.Module):
    """A residual block that writes the gate's product and the sum over the branch: no new memory for either."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        _fuse_pair(block.res_layer, 3)
        *branch, excite = block.res_layer
        assert isinstance(excite, SqueezeExcite)
        self.branch, self.excite = nn.Sequential(*branch), excite
        pool = block.shortcut_layer
        self.shortcut = Subsample(pool.stride) if isinstance(pool, nn.MaxPool2d) else pool

    def forward(self, x_bchw: Tensor) -> Tensor:
        branch: Tensor = self.branch(x_bchw)
        return branch.mul_(self.excite.gate(branch)).add_(self.shortcut(x_bchw))


class Subsample(nn.Module):
    """Every `stride`-th pixel: a max pool with window 1, without its indices."""

    def __init__(self, stride: int | tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride if isinstance(stride, int) else stride[0]

    def forward(self, x_bchw: Tensor) -> Tensor:
        return x_bchw if self.stride == 1 else x_bchw[:, :, :: self.stride, :: self.stride]


class LastConv(nn.Linear):
    """A 3 x 3 convolution with stride 2 and padding 1 of a 2 x 2 input: the other five taps see only padding."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(4 * conv.in_channels, conv.out_channels, device="meta")
        assert conv.bias is not None
        # Pixels before channels, as a channels_last input lies in memory: flattening it is then no copy.
        taps_oi22 = conv.weight[:, :, 1:, 1:]
        self.weight = nn.Parameter(taps_oi22.permute(0, 2, 3, 1).flatten(1))
        self.bias = nn.Parameter(conv.bias)

    def forward(self, x_bc22: Tensor) -> Tensor:
        return F.linear(x_bc22.permute(0, 2, 3, 1).flatten(1), self.weight, self.bias)


class Linear32(nn.Linear):
    """A linear layer in float32 whatever the input is."""

    def __init__(self, linear: EqualLinear) -> None:
        super().__init__(linear.weight.shape[1], linear.weight.shape[0], device="meta")
        self.weight = nn.Parameter(linear.weight * linear.scale)
        self.bias = nn.Parameter(linear.bias)

    def forward(self, x_bi: Tensor) -> Tensor:
        return F.linear(x_bi.float(), self.weight, self.bias)


def _fuse_pair(layers: nn.Sequential, i: int) -> None:
    """Makes the convolution at `i` and the BatchNorm behind it one convolution with a bias."""
    conv, norm = layers[i], layers[i + 1]
    if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        layers[i], layers[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()


def _copy_tensors(module: nn.Module, dtype: torch.dtype) -> None:
    for name, value in module._parameters.items():
        if value is not None:
            module._parameters[name] = nn.Parameter(_copy(value.data, dtype), requires_grad=False)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = _copy(buffer, dtype)


def _copy(value: Tensor, dtype: torch.dtype) -> Tensor:
    if not value.is_floating_point():
        return value.clone()
    layout = torch.channels_last if value.dim() == 4 else torch.contiguous_format
    return value.to(dtype, memory_format=layout, copy=True)
