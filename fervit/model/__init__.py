"""LatentViT: a small Vision Transformer over the styles of a W+ code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fervit.lazy import attributes

if TYPE_CHECKING:
    from fervit.model.latent_vit import LatentViT as LatentViT
    from fervit.model.latent_vit import count_weights as count_weights

__all__ = ["LatentViT", "count_weights"]

__getattr__ = attributes(__name__, dict.fromkeys(__all__, "fervit.model.latent_vit"))
