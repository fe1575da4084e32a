"""e4e's Encoder4Editing: pSp's network with styles expressed as differences from the first style.

Paper: Tov et al., "Designing an Encoder for StyleGAN Image Manipulation" (SIGGRAPH 2021). The parameters have
the names and shapes of pSp's; at inference all differences are active (the last stage of the paper's progressive
training).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fervit.encoders.psp import GradualStyleEncoder


class Encoder4Editing(GradualStyleEncoder):
    """Maps images [batch, 3, size, size] in [-1, 1] to codes [batch, n_styles, style_dim], average latent excluded."""

    def forward(self, images_bchw: Tensor) -> Tensor:
        """Images [batch, 3, size, size] in [-1, 1] -> codes [batch, n_styles, style_dim]."""
        outputs_bnd = super().forward(images_bchw)
        base_b1d, deltas_bnd = outputs_bnd[:, :1], outputs_bnd[:, 1:]
        return torch.cat([base_b1d, base_b1d + deltas_bnd], dim=1)
