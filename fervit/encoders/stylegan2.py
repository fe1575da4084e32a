"""StyleGAN2's generator from W+ codes to pictures (its synthesis network), in plain PyTorch.

Paper: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020), config F. Written from its
arithmetic; the names of the parameters are those of the decoders inside the official pSp and e4e checkpoints.

Modulation scales the channels that go into a shared convolution, and demodulation those that come out of it: the same
as weights of each sample's own, without making them.
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
    """Feature channels at a resolution: 512 up to 64 x 64, then half as many at each doubling (config F)."""
    return min(512, 32768 // side)


class Decoder(nn.Module):
    """W+ codes [batch, n_styles, 512] -> pictures [batch, 3, size, size], nominally in [-1, 1], with the stored noise.

    Args:
        size: side of the pictures in pixels, a power of two; n_styles is 2 log2(size) - 2.
    """

    def __init__(self, *, size: int = 1024) -> None:
        super().__init__()
        sides = [2**i for i in range(3, int(math.log2(size)) + 1)]
        # From z to w. Codes go in after it; it is here because the checkpoints have it.
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
    """Holds the 4 x 4 FIR kernel, stored with the gain of an up-sampling by two."""

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
    """Modulated 3 x 3 convolution, noise, bias, leaky ReLU with gain sqrt(2)."""

    def __init__(self, in_channels: int, out_channels: int, *, upsample: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(in_channels, out_channels, 3, demodulate=True, upsample=upsample)
        self.noise = Weight(1)
        self.activate = Bias(out_channels)

    def forward(self, x_bchw: Tensor, style_bd: Tensor, noise_11hw: Tensor) -> Tensor:
        x = self.conv(x_bchw, style_bd) + self.noise.weight * noise_11hw + self.activate.bias[:, None, None]
        return F.leaky_relu(x, 0.2) * math.sqrt(2)


class ToRGB(nn.Module):
    """Features to RGB, added to the up-sampled picture so far."""

    def __init__(self, in_channels: int, *, upsample: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(in_channels, 3, 1, demodulate=False, upsample=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        if upsample:
            self.upsample = Blur()

    def forward(self, x_bchw: Tensor, style_bd: Tensor, picture_b3hw: Tensor | None) -> Tensor:
        rgb: Tensor = self.conv(x_bchw, style_bd) + self.bias
        if picture_b3hw is None:
            return rgb
        return rgb + upsample_by_two(picture_b3hw, self.upsample.kernel)


class Weight(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n))


class Bias(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n))


def fir(x_bchw: Tensor, kernel_kk: Tensor, padding: int) -> Tensor:
    """Each channel filtered with one (symmetric) kernel."""
    channels = x_bchw.shape[1]
    return F.conv2d(x_bchw, kernel_kk.expand(channels, 1, -1, -1), padding=padding, groups=channels)


def upsample_by_two(x_bchw: Tensor, kernel_kk: Tensor) -> Tensor:
    """Zeros between the pixels, then the FIR filter: [b, c, h, w] -> [b, c, 2h, 2w]."""
    channels = x_bchw.shape[1]
    weight = kernel_kk.expand(channels, 1, -1, -1)
    return F.conv_transpose2d(x_bchw, weight, stride=2, padding=1, groups=channels)
