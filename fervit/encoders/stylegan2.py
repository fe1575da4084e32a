"""StyleGAN2's synthesis network, which generates pictures from W+ codes, in plain PyTorch.

Paper: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020), config F. Written from the
paper's arithmetic; the parameters have the names that they have in the official pSp and e4e checkpoints.

Modulation scales the input channels of a convolution that all samples share, and demodulation scales its output
channels. This equals a convolution with weights of each sample's own, without computing those weights.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STYLE_DIM = 512
MAPPING_LAYERS = 8
EPSILON = 1e-8


def channels_at(side: int) -> int:
    """The number of feature channels at a resolution: 512 up to 64 x 64, then half as many at each doubling."""
    return min(512, 32768 // side)


class Decoder(nn.Module):
    """Maps W+ codes [batch, n_styles, 512] to pictures [batch, 3, size, size], using the noise that the file stores.

    Args:
        size: the side of the pictures in pixels, a power of two; n_styles is 2 log2(size) - 2.
    """

    def __init__(self, *, size: int = 1024) -> None:
        super().__init__()
        sides = [2**i for i in range(3, int(math.log2(size)) + 1)]
        # The mapping network from z to w, which W+ codes do not pass through. The checkpoints hold its weights.
        self.style = nn.Sequential(nn.Identity(), *(nn.Linear(STYLE_DIM, STYLE_DIM) for _ in range(MAPPING_LAYERS)))
        self.input = ConstantInput(channels_at(4))
        self.conv1 = StyledConv(channels_at(4), channels_at(4))
        self.to_rgb1 = ToRGB(channels_at(4), upsample=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for side in sides:
            self.convs.append(StyledConv(channels_at(side // 2), channels_at(side), upsample=True))
            self.convs.append(StyledConv(channels_at(side), channels_at(side)))
            self.to_rgbs.append(ToRGB(channels_at(side), upsample=True))
        self.noises = nn.Module()
        for i, side in enumerate([4, *(side for side in sides for _ in range(2))]):
            self.noises.register_buffer(f"noise_{i}", torch.zeros(1, 1, side, side))
        self.n_styles = 2 * len(sides) + 2
        self.size = size

    def forward(self, codes_bnd: Tensor) -> Tensor:
        """W+ codes [batch, n_styles, 512] -> RGB pictures [batch, 3, size, size], nominally in [-1, 1].

        Raises:
            ValueError: the codes have another shape.
        """
        if codes_bnd.shape[1:] != (self.n_styles, STYLE_DIM):
            raise ValueError(f"codes must be [n, {self.n_styles}, {STYLE_DIM}], but got {list(codes_bnd.shape)}")
        styles = codes_bnd.unbind(dim=1)
        x = self.input.input.expand(len(codes_bnd), -1, -1, -1)
        x = self.conv1(x, styles[0], self.noises.noise_0)
        picture = self.to_rgb1(x, styles[1], None)
        for j, to_rgb in enumerate(self.to_rgbs):
            i = 2 * j + 1  # a to-RGB and the next up-sampling convolution share a style
            x = self.convs[2 * j](x, styles[i], getattr(self.noises, f"noise_{i}"))
            x = self.convs[2 * j + 1](x, styles[i + 1], getattr(self.noises, f"noise_{i + 1}"))
            picture = to_rgb(x, styles[i + 2], picture)
        return torch.as_tensor(picture)  # [batch, 3, size, size]


class ConstantInput(nn.Module):
    """The learned 4 x 4 features that every picture begins with."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


class Blur(nn.Module):
    """Holds the 4 x 4 FIR kernel. The stored kernel includes the gain of an up-sampling by two."""

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", torch.outer(line, line) / 16)

    kernel: Tensor


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by an affine function of the style; optionally demodulated."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, demodulate: bool, upsample: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, kernel, kernel))
        self.modulation = nn.Linear(STYLE_DIM, in_channels)
        if upsample:
            self.blur = Blur()
        self.gain = 1 / math.sqrt(in_channels * kernel * kernel)
        self.demodulate, self.upsample = demodulate, upsample

    def forward(self, x_bchw: Tensor, style_bd: Tensor) -> Tensor:
        """Features [batch, channels in, h, w] and styles [batch, 512] -> [batch, channels out, h, w].

        With up-sampling the output is 2h x 2w.
        """
        scale_bi = F.linear(style_bd, self.modulation.weight / math.sqrt(STYLE_DIM), self.modulation.bias)
        weight_oikk = self.weight[0] * self.gain
        x = x_bchw * scale_bi[:, :, None, None]
        if self.upsample:
            x = F.conv_transpose2d(x, weight_oikk.transpose(0, 1), stride=2)  # 2 side + 1
            x = fir(x, self.blur.kernel, padding=1)  # 2 side
        else:
            x = F.conv2d(x, weight_oikk, padding=weight_oikk.shape[-1] // 2)
        if self.demodulate:
            power_bo = scale_bi.square() @ weight_oikk.square().sum(dim=(2, 3)).T
            x = x * torch.rsqrt(power_bo + EPSILON)[:, :, None, None]
        return x


class StyledConv(nn.Module):
    """A modulated 3 x 3 convolution followed by noise, a bias, and a leaky ReLU with gain sqrt(2)."""

    def __init__(self, in_channels: int, out_channels: int, *, upsample: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(in_channels, out_channels, 3, demodulate=True, upsample=upsample)
        self.noise = Weight(1)
        self.activate = Bias(out_channels)

    def forward(self, x_bchw: Tensor, style_bd: Tensor, noise_11hw: Tensor) -> Tensor:
        """Features [batch, channels in, h, w] and styles [batch, 512] -> [batch, channels out, h, w].

        With up-sampling the output is 2h x 2w.
        """
        x = self.conv(x_bchw, style_bd) + self.noise.weight * noise_11hw + self.activate.bias[:, None, None]
        return F.leaky_relu(x, 0.2) * math.sqrt(2)


class ToRGB(nn.Module):
    """Converts features to RGB and adds them to the picture of the resolution before, up-sampled."""

    def __init__(self, in_channels: int, *, upsample: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(in_channels, 3, 1, demodulate=False, upsample=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        if upsample:
            self.upsample = Blur()

    def forward(self, x_bchw: Tensor, style_bd: Tensor, picture_b3hw: Tensor | None) -> Tensor:
        """Features [batch, channels, h, w] and the picture [batch, 3, h / 2, w / 2] before -> [batch, 3, h, w]."""
        rgb: Tensor = self.conv(x_bchw, style_bd) + self.bias
        if picture_b3hw is None:
            return rgb
        return rgb + upsample_by_two(picture_b3hw, self.upsample.kernel)


class Weight(nn.Module):
    """Holds `n` factors under the name that the checkpoints give them."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n))


class Bias(nn.Module):
    """Holds `n` biases under the name that the checkpoints give them."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n))


def fir(x_bchw: Tensor, kernel_kk: Tensor, padding: int) -> Tensor:
    """Filters each channel of [b, c, h, w] with the same symmetric kernel [k, k]."""
    channels = x_bchw.shape[1]
    return F.conv2d(x_bchw, kernel_kk.expand(channels, 1, -1, -1), padding=padding, groups=channels)


def upsample_by_two(x_bchw: Tensor, kernel_kk: Tensor) -> Tensor:
    """Inserts zeros between the pixels and applies the FIR filter: [b, c, h, w] -> [b, c, 2h, 2w]."""
    channels = x_bchw.shape[1]
    weight = kernel_kk.expand(channels, 1, -1, -1)
    return F.conv_transpose2d(x_bchw, weight, stride=2, padding=1, groups=channels)
