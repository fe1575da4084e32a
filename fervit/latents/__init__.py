"""W+ codes: their Parquet files, and `LatentSet`, the codes of a split in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fervit.lazy import attributes

if TYPE_CHECKING:
    from fervit.latents.latent_set import LatentSet as LatentSet

__all__ = ["LatentSet"]

__getattr__ = attributes(__name__, {"LatentSet": "fervit.latents.latent_set"})
