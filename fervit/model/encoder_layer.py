"""The layers of LatentViT. They are those of `nn.TransformerEncoderLayer`, with the same names and newer options.

Papers: Vaswani et al., "Attention Is All You Need" (2017), for the layer; Xiong et al., "On Layer Normalization in the
Transformer Architecture" (ICML 2020), for pre-norm; Hendrycks and Gimpel (2016) for GELU.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from fervit.model.dropout import Dropout, DropPath, Shard

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class SelfAttention(nn.Module):
    """Multi-head self-attention.

    `fused` chooses between PyTorch's fused kernel and a readable path that gives the same numbers. The readable path
    passes the attention [batch, heads, tokens, tokens] through the module `attend`, where `record_attention` reads it.
    """

    def __init__(self, dim: int, heads: int, dropout: float, shard: Shard) -> None:
        super().__init__()
        self.heads, self.fused = heads, True
        self.in_proj_weight = Parameter(nn.init.xavier_uniform_(nn.Linear(dim, 3 * dim).weight.data))
        self.in_proj_bias = Parameter(nn.Linear(dim, 3 * dim).bias.data.zero_())
        self.out_proj = nn.Linear(dim, dim)
        nn.init.zeros_(self.out_proj.bias)
        self.attend = nn.Softmax(dim=-1)
        self.dropout = Dropout(dropout, shard)

    def forward(self, tokens_btd: Tensor) -> Tensor:
        """[batch, tokens, dim] -> the same shape."""
        batch, tokens, dim = tokens_btd.shape
        qkv = F.linear(tokens_btd, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        dropping = self.training and self.dropout.p > 0
        # On the CPU, the kernel would use another dropout; on a GPU, that of torch 2.6 to 2.9 refuses an empty batch.
        if self.fused and batch > 0 and not (dropping and q.device.type == "cpu"):
            mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout.p if dropping else 0.0)
        else:
            attention = self.attend(q @ k.transpose(-2, -1) / math.sqrt(dim // self.heads))
            mixed = self.dropout(attention.to(v.dtype)) @ v
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))
        return out


class EncoderLayer(nn.Module):
    """Self-attention and a two-layer perceptron, each around a residual connection.

    Without `pre_norm` and with the activation "relu" it computes what `nn.TransformerEncoderLayer` computes by default.
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        mlp_dim: int,
        dropout: float,
        drop_path: float,
        pre_norm: bool,
        activation: str,
        shard: Shard,
    ) -> None:
        super().__init__()
        self.pre_norm, self.activation = pre_norm, ACTIVATIONS[activation]
        self.self_attn = SelfAttention(dim, heads, dropout, shard)
        self.linear1, self.linear2 = nn.Linear(dim, mlp_dim), nn.Linear(mlp_dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout, self.drop_path = Dropout(dropout, shard), DropPath(drop_path, shard)

    def forward(self, tokens_btd: Tensor) -> Tensor:
        """[batch, tokens, dim] -> the same shape."""
        x = tokens_btd
        if self.pre_norm:
            x = x + self._branch(self.self_attn(self.norm1(x)))
            return x + self._branch(self._mlp(self.norm2(x)))
        x = self.norm1(x + self._branch(self.self_attn(x)))
        normed: Tensor = self.norm2(x + self._branch(self._mlp(x)))
        return normed

    def _mlp(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return out

    def _branch(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop_path(self.dropout(x))
        return out
