"""pSp's GradualStyleEncoder: a feature pyramid over IR-SE-50 and one small network for each of StyleGAN's styles.

Paper: Richardson et al., "Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation" (CVPR 2021). Written
from the network's description; the parameters have the names that they have in the official checkpoints.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fervit.encoders.irse50 import body, stem

COARSE, MEDIUM = 3, 7
"""Styles 0..2 read the coarse level of the feature pyramid, 3..6 the medium level, and the others the fine level."""
FINE_TAP, MEDIUM_TAP = 6, 20
"""The blocks whose outputs are the fine and the medium level. The output of the last block is the coarse level."""


class EqualLinear(nn.Module):
    """A linear layer whose stored weight has unit variance and is scaled when it is used (Karras et al., 2018)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.scale = 1 / math.sqrt(in_features)

    def forward(self, x_bi: Tensor) -> Tensor:
        """[batch, features in] -> [batch, features out]."""
        return F.linear(x_bi, self.weight * self.scale, self.bias)


class StyleHead(nn.Module):
    """The paper's map2style: halves a square of features down to one vector, then maps it linearly to a style."""

    def __init__(self, channels: int, side: int, style_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(int(math.log2(side))):
            layers += [nn.Conv2d(channels, channels, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear: nn.Module = EqualLinear(channels, style_dim)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """[batch, channels, side, side] -> [batch, style_dim]."""
        vector_bc11: Tensor = self.convs(x_bchw)
        style_bd: Tensor = self.linear(vector_bc11.flatten(1))
        return style_bd


class GradualStyleEncoder(nn.Module):
    """Maps images [batch, 3, size, size] in [-1, 1] to codes [batch, n_styles, style_dim] without the average latent.

    Args:
        n_styles: 18 for a generator of 1024 x 1024 pixels, 16 for 512 x 512, 14 for 256 x 256.
        width: channels of the stem; the pyramid has eight times as many. 64 in the official checkpoints.
        size: the input's side in pixels; 256 in the official checkpoints.
        style_dim: length of a style.
    """

    SIZE = 256

    def __init__(self, *, n_styles: int = 18, width: int = 64, size: int = SIZE, style_dim: int = 512) -> None:
        super().__init__()
        if size < 32 or size & (size - 1):
            raise ValueError(f"`size` must be a power of two of 32 or more, but got {size}")
        self.size = size
        self.input_layer = stem(width)
        self.body = body(width)
        pyramid = 8 * width
        sides = [size // 16 if i < COARSE else size // 8 if i < MEDIUM else size // 4 for i in range(n_styles)]
        self.styles = nn.ModuleList(StyleHead(pyramid, side, style_dim) for side in sides)
        self.latlayer1 = nn.Conv2d(4 * width, pyramid, 1)
        self.latlayer2 = nn.Conv2d(2 * width, pyramid, 1)

    def forward(self, images_bchw: Tensor) -> Tensor:
        """Images [batch, 3, size, size] in [-1, 1] -> codes [batch, n_styles, style_dim].

        Raises:
            ValueError: the images have another shape.
        """
        if images_bchw.shape[1:] != (3, self.size, self.size):
            raise ValueError(f"images must be [n, 3, {self.size}, {self.size}], but got {list(images_bchw.shape)}")
        x = self.input_layer(images_bchw)
        for i, block in enumerate(self.body):
            x = block(x)
            if i == FINE_TAP:
                c1 = x
            elif i == MEDIUM_TAP:
                c2 = x
        p3 = x
        p2 = _upsample_to(p3, c2) + self.latlayer1(c2)
        p1 = _upsample_to(p2, c1) + self.latlayer2(c1)
        styles = [head(p3 if i < COARSE else p2 if i < MEDIUM else p1) for i, head in enumerate(self.styles)]
        return torch.stack(styles, dim=1)  # [batch, n_styles, style_dim]


def _upsample_to(x_bchw: Tensor, like_bchw: Tensor) -> Tensor:
    return F.interpolate(x_bchw, size=like_bchw.shape[2:], mode="bilinear", align_corners=True)
