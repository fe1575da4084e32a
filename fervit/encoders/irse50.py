"""IR-SE-50, the residual network with squeeze-and-excite that computes the features of pSp's style heads.

Papers: He et al., "Identity Mappings in Deep Residual Networks" (2016); Hu et al., "Squeeze-and-Excitation Networks"
(2018); Deng et al., "ArcFace" (2019), which combines them. The parameters have the names that they have in the official
pSp and e4e checkpoints.
"""

from __future__ import annotations

from torch import Tensor, nn

GROUPS = ((1, 1, 3), (1, 2, 4), (2, 4, 14), (4, 8, 3))
"""For each group of blocks: channels in, channels out (both in units of the width), number of blocks."""


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the means of all channels."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x_bchw: Tensor) -> Tensor:
        """[batch, channels, h, w] -> the same shape."""
        return x_bchw * self.gate(x_bchw)

    def gate(self, x_bchw: Tensor) -> Tensor:
        """The factor of each channel, in (0, 1): [batch, channels, h, w] -> [batch, channels, 1, 1]."""
        gate_bc11: Tensor = self.sigmoid(self.fc2(self.relu(self.fc1(self.avg_pool(x_bchw)))))
        return gate_bc11


class Bottleneck(nn.Module):
    """One residual block. Its second convolution has the stride, and no activation follows the sum."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if in_channels == out_channels:
            self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)  # plain subsampling
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            SqueezeExcite(out_channels),
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        """[batch, channels in, h, w] -> [batch, channels out, h / stride, w / stride]."""
        residual: Tensor = self.res_layer(x_bchw)
        total: Tensor = residual + self.shortcut_layer(x_bchw)
        return total


def stem(width: int) -> nn.Sequential:
    """Builds the first layers, which map RGB to `width` channels at full resolution."""
    return nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width))


def body(width: int) -> nn.Sequential:
    """Builds the 24 residual blocks in four groups. The first block of each group halves the resolution."""
    blocks = []
    for wide_in, wide_out, n in GROUPS:
        blocks.append(Bottleneck(wide_in * width, wide_out * width, stride=2))
        blocks.extend(Bottleneck(wide_out * width, wide_out * width, stride=1) for _ in range(n - 1))
    return nn.Sequential(*blocks)
