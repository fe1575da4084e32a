"""LatentViT, a Vision Transformer in which each of the 18 styles of a W+ code is a token.

Papers: Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021), for the class token and the learned positions;
Vaswani et al., "Attention Is All You Need" (2017), for the encoder layers, which are post-norm with ReLU, PyTorch's
defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fervit.model.dropout import Shard
from fervit.model.encoder_layer import EncoderLayer


class LatentViT(nn.Module):
    """Maps W+ codes [batch, seq_len, latent_dim] to logits [batch, num_classes].

    Args:
        latent_dim: the length of a style.
        seq_len: the number of styles in a code.
        embed_dim: the width of a token, a multiple of `heads`.
        depth: the number of encoder layers.
        heads: the number of attention heads in a layer.
        mlp_dim: the width of the hidden layer of each encoder layer.
        dropout: the probability of dropout in the encoder layers.
        pre_norm: whether LayerNorm comes before attention and perceptron rather than after the sum.
        activation: "relu" or "gelu".
        drop_path: the probability of dropping a residual branch in the last layer; it falls to 0 in the first layer.
        pooling: what the head reads, either "cls" (the class token) or "mean" (the mean of the styles' tokens).
        standardise: whether codes are standardised with the statistics that `set_statistics` was given.
        num_classes: the number of classes.
    """

    code_mean: Tensor
    code_std: Tensor

    def __init__(
        self,
        *,
        latent_dim: int = 512,
        seq_len: int = 18,
        embed_dim: int = 512,
        depth: int = 6,
        heads: int = 8,
        mlp_dim: int = 2048,
        dropout: float = 0.1,
        pre_norm: bool = False,
        activation: str = "relu",
        drop_path: float = 0.0,
        pooling: str = "cls",
        standardise: bool = False,
        num_classes: int = 7,
    ) -> None:
        super().__init__()
        self.seq_len, self.latent_dim, self.pooling = seq_len, latent_dim, pooling
        self.shard = Shard()
        self.standardise = standardise
        if standardise:
            self.register_buffer("code_mean", torch.zeros(seq_len, latent_dim))
            self.register_buffer("code_std", torch.ones(seq_len, latent_dim))
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dim))
        self.pos_emb = nn.Parameter(torch.empty(1, seq_len + 1, embed_dim))
        self.input_proj = nn.Linear(latent_dim, embed_dim)
        layers = nn.Sequential(
            *(
                EncoderLayer(
                    dim=embed_dim,
                    heads=heads,
                    mlp_dim=mlp_dim,
                    dropout=dropout,
                    drop_path=drop_path * i / max(1, depth - 1),
                    pre_norm=pre_norm,
                    activation=activation,
                    shard=self.shard,
                )
                for i in range(depth)
            )
        )
        self.transformer = nn.ModuleDict({"layers": layers})  # as the weights are named in earlier checkpoints
        self.mlp_head = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, num_classes))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_emb, std=0.02)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Sets the mean and the standard deviation that codes are standardised with, float32 [seq_len, latent_dim]."""
        self.code_mean.copy_(mean)
        self.code_std.copy_(std)

    def forward(self, codes_nld: Tensor) -> Tensor:
        """W+ codes [n, seq_len, latent_dim] -> logits [n, num_classes].

        Raises:
            ValueError: the codes have another shape.
        """
        if codes_nld.shape[1:] != (self.seq_len, self.latent_dim):
            raise ValueError(f"codes must be [n, {self.seq_len}, {self.latent_dim}], but got {list(codes_nld.shape)}")
        if self.standardise:
            codes_nld = (codes_nld - self.code_mean) / self.code_std
        tokens = self.input_proj(codes_nld)  # [batch, seq_len, embed_dim]
        tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1) + self.pos_emb
        tokens = self.transformer["layers"](tokens)  # [batch, 1 + seq_len, embed_dim]
        logits: Tensor = self.mlp_head(tokens[:, 0] if self.pooling == "cls" else tokens[:, 1:].mean(dim=1))
        return logits


def count_weights(arguments: Mapping[str, Any]) -> int:
    """Counts the parameters of a LatentViT with these arguments, without allocating them."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in LatentViT(**arguments).parameters())
