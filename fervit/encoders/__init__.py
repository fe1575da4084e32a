"""From a face to its W+ code: pSp's network in pure PyTorch, the registry of encoders, and `register_encoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fervit.lazy import attributes

if TYPE_CHECKING:
    from fervit.encoders.registered import register_encoder as register_encoder
    from fervit.encoders.registry import Encoder as Encoder
    from fervit.encoders.registry import load_encoder as load_encoder

__all__ = ["Encoder", "load_encoder", "register_encoder"]

HOMES = {
    "Encoder": "fervit.encoders.registry",
    "load_encoder": "fervit.encoders.registry",
    "register_encoder": "fervit.encoders.registered",
}

__getattr__ = attributes(__name__, HOMES)
