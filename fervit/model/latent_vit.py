"""LatentViT: each of the 18 styles of a W+ code is a token.

Papers: Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021), for the class token and the learned positions;
Vaswani et al., "Attention Is All You Need" (2017), for the encoder layers, which are post-norm with ReLU, PyTorch's
defaults.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LatentViT(nn.Module):
    """W+ codes [batch, seq_len, latent_dim] -> logits [batch, num_classes].

    Args:
        latent_dim: length of a style.
        seq_len: styles in a code.
        embed_dim: width of a token; a multiple of `heads`.
        depth: encoder layers.
        heads: attention heads a layer.
        mlp_dim: width of the hidden layer of each encoder layer.
        dropout: probability, in the encoder layers.
        num_classes: emotions.
    """

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
        num_classes: int = 7,
    ) -> None:
        super().__init__()
        self.seq_len, self.latent_dim = seq_len, latent_dim
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dim))
        self.pos_emb = nn.Parameter(torch.empty(1, seq_len + 1, embed_dim))
        self.input_proj = nn.Linear(latent_dim, embed_dim)
        layers = [
            nn.TransformerEncoderLayer(embed_dim, heads, mlp_dim, dropout, batch_first=True) for _ in range(depth)
        ]
        self.transformer = nn.TransformerEncoder(layers[0], 1, enable_nested_tensor=False)
        self.transformer.layers = nn.ModuleList(layers)  # its own copies of layers[0] would all start equal
        self.transformer.num_layers = depth
        self.mlp_head = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, num_classes))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_emb, std=0.02)

    def forward(self, codes_nld: Tensor) -> Tensor:
        if codes_nld.shape[1:] != (self.seq_len, self.latent_dim):
            raise ValueError(f"codes must be [n, {self.seq_len}, {self.latent_dim}], but got {list(codes_nld.shape)}")
        tokens = self.input_proj(codes_nld)  # [batch, seq_len, embed_dim]
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.pos_emb
        tokens = self.transformer(tokens)  # [batch, 1 + seq_len, embed_dim]
        logits: Tensor = self.mlp_head(tokens[:, 0])
        return logits
