"""Finds out which styles of a code a LatentViT attends to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fervit.model import LatentViT
from fervit.model.attention_recorder import record_attention

FLAT = 1.5
"""Attention is called flat if the strongest style of a face has, on average, less than this multiple of an even share.
Untrained models reach 1.0 to 1.4 and trained models 2 to 10, as measured."""


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """The attention of a model for n faces.

    The head of the model reads the class token, or with pooling "mean" the mean of the styles' tokens.
    """

    rollout: np.ndarray
    """The share of each style in what the head reads, float32 [n, seq_len]; rows sum to 1.

    It is the attention rollout of Abnar and Zuidema, "Quantifying attention flow in transformers" (ACL 2020): heads are
    averaged, and the residual connection counts for half of each layer.
    """
    cosine: np.ndarray
    """The cosine similarity, -1..1, of each style's token after the last layer with what the head reads, float32 [n,
    seq_len]."""
    between: np.ndarray
    """The attention between tokens, averaged over layers and heads, float32 [n, 1 + seq_len, 1 + seq_len].

    Row i holds what token i attends to. Token 0 is the class token.
    """

    similarity: np.ndarray
    """The cosine similarity, -1..1, between the tokens of the styles after the last layer, float32 [n, seq_len,
    seq_len]; the diagonal is 1. The guide's scripts draw it as their lower map."""

    @property
    def peaks(self) -> np.ndarray:
        """The share of each face's strongest style, in multiples of an even share, float32 [n]."""
        peaks: np.ndarray = self.rollout.max(axis=1) * self.rollout.shape[1]
        return peaks


def attend(model: LatentViT, codes: np.ndarray, batch_size: int = 32) -> AttentionMaps:
    """Runs a model in eval mode, on its device, on codes [n, seq_len, latent_dim] and records its attention."""
    parts = [_attend(model, codes[start : start + batch_size]) for start in range(0, len(codes), batch_size)]
    rollout, cosine, between, similarity = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return AttentionMaps(rollout=rollout, cosine=cosine, between=between, similarity=similarity)


def _attend(model: LatentViT, codes: np.ndarray) -> tuple[np.ndarray, ...]:
    outputs: list[Tensor] = []
    hook = model.transformer["layers"].register_forward_hook(lambda _, __, output: outputs.append(output.float()))
    try:
        with torch.inference_mode(), record_attention(model) as layers:
            model(torch.from_numpy(codes.astype(np.float32)).to(next(model.parameters()).device))
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
    directions = torch.nn.functional.normalize(tokens[:, 1:], dim=2)
    similarity = directions @ directions.transpose(1, 2)
    return rollout.numpy(), cosine.numpy(), heads_averaged.mean(dim=0).numpy(), similarity.numpy()
