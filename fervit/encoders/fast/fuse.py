"""The fast form of an encoder for inference: the same arithmetic in fewer passes over memory, in any precision.

A BatchNorm behind a convolution becomes part of the convolution's weights; a BatchNorm before a padded convolution is
kept, since the values at the border would differ. Weights are stored in channels_last, which oneDNN and cuDNN prefer.
The last convolution of each style head has a 2 x 2 input, which meets only four of the nine taps, so it is replaced by
a linear layer. BatchNorm's statistics and the closing linear layer take little time but decide much of the error, so
they stay in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fervit.encoders.irse50 import Bottleneck, SqueezeExcite
from fervit.encoders.psp import EqualLinear, StyleHead


def fuse(module: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Turns an encoder in eval mode, or a part of one, into its fast form in place, and returns it.

    No tensor of the result shares memory with the tensors that it was made from, so that the memory mapping of a
    checkpoint can be closed.

    Args:
        module: an encoder or a submodule of one.
        dtype: the type of the weights: float32, bfloat16 or float16.
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
    """A residual block that computes the gated product and the sum in place, in the memory of the residual branch."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        _fuse_pair(block.res_layer, 3)
        *branch, excite = block.res_layer
        assert isinstance(excite, SqueezeExcite)
        self.branch, self.excite = nn.Sequential(*branch), excite
        pool = block.shortcut_layer
        self.shortcut = Subsample(pool.stride) if isinstance(pool, nn.MaxPool2d) else pool

    def forward(self, x_bchw: Tensor) -> Tensor:
        """[batch, channels in, h, w] -> [batch, channels out, h / stride, w / stride]."""
        branch: Tensor = self.branch(x_bchw)
        return branch.mul_(self.excite.gate(branch)).add_(self.shortcut(x_bchw))


class Subsample(nn.Module):
    """Keeps every `stride`-th pixel, as a max pool with window 1 does, without computing indices."""

    def __init__(self, stride: int | tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride if isinstance(stride, int) else stride[0]

    def forward(self, x_bchw: Tensor) -> Tensor:
        """[batch, channels, h, w] -> [batch, channels, h / stride, w / stride]."""
        return x_bchw if self.stride == 1 else x_bchw[:, :, :: self.stride, :: self.stride]


class LastConv(nn.Linear):
    """A 3 x 3 convolution of stride 2 and padding 1 for 2 x 2 inputs, where five of the nine taps meet only padding."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(4 * conv.in_channels, conv.out_channels, device="meta")
        assert conv.bias is not None
        # Pixels come before channels, as in a channels_last input, which is then flattened without a copy.
        taps_oi22 = conv.weight[:, :, 1:, 1:]
        self.weight = nn.Parameter(taps_oi22.permute(0, 2, 3, 1).flatten(1))
        self.bias = nn.Parameter(conv.bias)

    def forward(self, x_bc22: Tensor) -> Tensor:
        """[batch, channels in, 2, 2] -> [batch, channels out]."""
        return F.linear(x_bc22.permute(0, 2, 3, 1).flatten(1), self.weight, self.bias)


class Linear32(nn.Linear):
    """A linear layer that computes in float32, whatever the type of its input."""

    def __init__(self, linear: EqualLinear) -> None:
        super().__init__(linear.weight.shape[1], linear.weight.shape[0], device="meta")
        self.weight = nn.Parameter(linear.weight * linear.scale)
        self.bias = nn.Parameter(linear.bias)

    def forward(self, x_bi: Tensor) -> Tensor:
        """[batch, features in] of any float type -> [batch, features out] in float32."""
        return F.linear(x_bi.float(), self.weight, self.bias)


def _fuse_pair(layers: nn.Sequential, i: int) -> None:
    """Replaces the convolution at `i` and the BatchNorm behind it by one convolution with a bias."""
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
