"""A faster form of the style heads on a CPU: weights in oneDNN's own layout, and LeakyReLU fused into convolutions.

oneDNN would otherwise convert the layout of 0.5 GB of weights for each batch. The operators are those that
torch.compile uses; if this PyTorch lacks them, or on another device, the network stays as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fervit.encoders.psp import StyleHead


def pack(network: nn.Module) -> None:
    """Replaces each convolution of the style heads and the LeakyReLU behind it by a `PackedConv`, in place."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return
    types = {weight.dtype for weight in network.parameters()}
    if torch.bfloat16 in types and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    if torch.float16 in types and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        return
    for head in network.modules():
        if not isinstance(head, StyleHead):
            continue
        for i in range(0, len(head.convs) - 1, 2):
            conv, relu = head.convs[i], head.convs[i + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(relu, nn.LeakyReLU) and conv.weight.device.type == "cpu":
                head.convs[i], head.convs[i + 1] = PackedConv(conv, relu.negative_slope), nn.Identity()


class PackedConv(nn.Module):
    """A convolution and a LeakyReLU in one pass. The weights' layout is chosen for the shape of the first input."""

    def __init__(self, conv: nn.Conv2d, negative_slope: float) -> None:
        super().__init__()
        self._weight: Tensor | None = conv.weight.data
        self._packed: Tensor | None = None
        self._bias = conv.bias.data if conv.bias is not None else None
        self._geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self._negative_slope = negative_slope

    def forward(self, x_bchw: Tensor) -> Tensor:
        """[batch, channels in, h, w] -> [batch, channels out, h / stride, w / stride]."""
        weight = self._weight
        if weight is not None:  # several threads may pack at the same time; they compute the same result
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._geometry, list(x_bchw.shape))
            self._weight = None
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x_bchw, self._packed, self._bias, *self._geometry, "leaky_relu", [self._negative_slope], ""
        )
        return result
