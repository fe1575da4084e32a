"""LatentViT: a small Vision Transformer over the styles of a W+ code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fervit.lazy import attributes

if TYPE_CHECKING:
    from fervit.model.latent_vit import LatentViT as LatentViT

__all__ = ["LatentViT"]

__getattr__ = attributes(__name__, {"LatentViT": "fervit.model.latent_vit"})
