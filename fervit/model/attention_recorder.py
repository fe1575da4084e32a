"""Records the attention maps of a model, which needs no code for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from fervit.model.encoder_layer import SelfAttention


@contextmanager
def record_attention(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the attention maps of all layers while the block runs.

    Yields:
        A list to which each forward pass appends a map for each layer, first to last: float32 [batch, heads, tokens,
        tokens] on the CPU. Row i of a map holds the attention of token i to all tokens and sums to 1. Token 0 is the
        class token.

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
