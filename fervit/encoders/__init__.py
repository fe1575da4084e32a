"""From a face to its W+ code: pSp's network in pure PyTorch, and the registry of encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fervit.lazy import attributes

if TYPE_CHECKING:
    from fervit.encoders.registry import Encoder as Encoder
    from fervit.encoders.registry import load_encoder as load_encoder

__all__ = ["Encoder", "load_encoder"]

__getattr__ = attributes(__name__, {"Encoder": "fervit.encoders.registry", "load_encoder": "fervit.encoders.registry"})
