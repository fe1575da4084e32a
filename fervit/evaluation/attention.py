"""Which styles of a code a LatentViT looks at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fervit.model import LatentViT
from fervit.model.attention_recorder import record_attention

FLAT = 1.5
"""Attention is flat when a face's strongest style has, on average, less than this many times the share of an even one.
Untrained models reach 1.0 to 1.4, trained ones 2 to 10 (measured)."""


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Of n faces. What the head reads is the class token, or with `pooling: mean` the mean of the styles' tokens."""

    rollout: np.ndarray
    """float32 [n, seq_len]: the share of each style in what the head reads; rows sum to 1. Attention rollout (Abnar
    and Zuidema, 2020, "Quantifying attention flow in transformers"): heads averaged, half of each layer's matrix is the
    residual branch."""
    cosine: np.ndarray
    """float32 [n, seq_len], -1..1: cosine similarity of each style's last token with what the head reads."""
    between: np.ndarray
    """float32 [n, 1 + seq_len, 1 + seq_len]: attention averaged over layers and heads; row i: what token i attends to,
    token 0 is the class token."""

    @property
    def peaks(self) -> np.ndarray:
        """float32 [n]: how many times an even share each face's strongest style has."""
        peaks: np.ndarray = self.rollout.max(axis=1) * self.rollout.shape[1]
        return peaks


def attend(model: LatentViT, codes: np.ndarray, batch_size: int = 32) -> AttentionMaps:
    """Runs a model in eval mode over codes [n, seq_len, latent_dim] and watches its attention."""
    parts = [_attend(model, codes[start : start + batch_size]) for start in range(0, len(codes), batch_size)]
    rollout, cosine, between = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return AttentionMaps(rollout=rollout, cosine=cosine, between=between)


def _attend(model: LatentViT, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    outputs: list[Tensor] = []
    hook = model.transformer["layers"].register_forward_hook(lambda _, __, output: outputs.append(output.float()))
    try:
        with torch.inference_mode(), record_attention(model) as layers:
            model(torch.from_numpy(codes.astype(np.float32)))
    finally:
        hook.remove()
    heads_averaged = torch.stack([layer.mean(dim=1) for layer in layers])  # [depth, n, tokens, tokens]
    identity = torch.eye(heads_averaged.shape[-1])
    flow = identity.expand(len(codes), -1, -1)
    for layer in heads_averaged:
        flow = (0.5 * layer + 0.5 * identity) @ flow
    tokens = outputs[0].cpu()  # [n, tokens, embed_dim]
    if model.pooling == "cls":
        read, reaches = tokens[:, 0], flow[:, 0]
    else:
        read, reaches = tokens[:, 1:].mean(dim=1), flow[:, 1:].mean(dim=1)
    rollout = reaches[:, 1:] / reaches[:, 1:].sum(dim=1, keepdim=True)
    cosine = torch.cosine_similarity(read[:, None], tokens[:, 1:], dim=2)
    return rollout.numpy(), cosine.numpy(), heads_averaged.mean(dim=0).numpy()
