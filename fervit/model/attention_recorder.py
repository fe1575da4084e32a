"""Attention maps of a model that knows nothing of being watched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from fervit.model.encoder_layer import SelfAttention


@contextmanager
def record_attention(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the attention of each layer, first to last, while the block runs.

    Yields:
        A list that each forward pass appends to: float32 [batch, heads, tokens, tokens] on the CPU, a layer each; row i
        is what token i attends to and sums to 1. Token 0 is the class token.

    Example:
        with record_attention(model) as maps:
            model(codes)
    """
    maps: list[Tensor] = []
    layers = [module for module in model.modules() if isinstance(module, SelfAttention)]
    hooks = [
        layer.attend.register_forward_hook(lambda _, __, output: maps.append(output.detach().float().cpu()))
        for layer in layers
    ]
    before = [layer.fused for layer in layers]
    for layer in layers:
        layer.fused = False
    try:
        yield maps
    finally:
        for layer, hook, fused in zip(layers, hooks, before, strict=True):
            hook.remove()
            layer.fused = fused
