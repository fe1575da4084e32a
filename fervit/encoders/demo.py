"""The demo encoder: a narrow pSp network for 64 x 64 pixels with fixed random weights, for the demo and the tests only.

Random weights in a network this deep would keep little of a picture but its colours. So the residual branches are weak,
the heads' LeakyReLUs work in their linear part (large biases), and every BatchNorm is set to the statistics of smooth
random pictures: a code is then close to a random projection of the face, which a classifier can read.
"""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fervit.encoders.psp import EqualLinear, GradualStyleEncoder

SEED = 20130
WIDTH, SIZE = 16, 64
CLOSING_NORM = "res_layer.4"
RESIDUAL_GAIN, PRELU_SLOPE, HEAD_BIAS = 0.3, 0.6, 6.0


def demo_network() -> tuple[GradualStyleEncoder, Tensor, str]:
    """Builds the network in eval mode.

    Returns:
        The network, the negated mean of its codes [18, 512], which centres the codes when it is added, and the SHA-256
        of the random weights. The hash leaves out BatchNorm's statistics, which are computed from the weights and
        differ in the last bits between machines.
    """
    generator = torch.Generator().manual_seed(SEED)
    network = GradualStyleEncoder(width=WIDTH, size=SIZE)
    _draw_weights(network, generator)
    digest = hashlib.sha256()
    for name, weight in network.state_dict().items():
        digest.update(name.encode() + weight.numpy().tobytes())

    pictures = _smooth_pictures(generator)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0  # the running statistics become this one batch's
        network.train()
        network(pictures)
        network.eval()
        average = -network(pictures).mean(dim=0)
    return network, average, digest.hexdigest()


def _draw_weights(network: GradualStyleEncoder, generator: torch.Generator) -> None:
    for name, module in network.named_modules():
        in_head = name.startswith("styles.")
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=1.0 if in_head else 0.25, generator=generator)
            if module.bias is not None:
                nn.init.constant_(module.bias, HEAD_BIAS if in_head else 0.0)
        elif isinstance(module, EqualLinear):
            nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, nn.PReLU):
            nn.init.constant_(module.weight, PRELU_SLOPE)
    for name, module in network.named_modules():
        if name.endswith(CLOSING_NORM) and isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, RESIDUAL_GAIN)


def _smooth_pictures(generator: torch.Generator, n: int = 32) -> Tensor:
    """Draws random pictures [n, 3, SIZE, SIZE] in [-1, 1], the sum of noise at five scales."""
    total = torch.zeros(n, 3, SIZE, SIZE)
    for side in (2, 4, 8, 16, 32):
        coarse = torch.randn(n, 3, side, side, generator=generator)
        total += F.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear")
    return (0.3 * total).clamp(-1, 1)
