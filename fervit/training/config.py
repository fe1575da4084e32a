"""The hyperparameters of a training: the one source of YAML keys and saved JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

MODEL_FIELDS = ("latent_dim", "seq_len", "embed_dim", "depth", "heads", "mlp_dim", "dropout")


def _hyper(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Defaults are those of the guide that LatentViT comes from."""

    latent_dim: int = _hyper(512, "length of a style")
    seq_len: int = _hyper(18, "styles in a code; 0 takes what the latents have")
    embed_dim: int = _hyper(512, "width of a token, a multiple of heads")
    depth: int = _hyper(6, "encoder layers")
    heads: int = _hyper(8, "attention heads a layer")
    mlp_dim: int = _hyper(2048, "width of an encoder layer's hidden layer")
    dropout: float = _hyper(0.1, "probability in the encoder layers")
    batch_size: int = _hyper(64, "codes a step")
    lr: float = _hyper(1e-4, "learning rate of AdamW")
    weight_decay: float = _hyper(1e-2, "weight decay of AdamW")
    scheduler: Literal["plateau", "cosine", "none"] = _hyper(
        "plateau", "learning rate: halved after 5 epochs without a lower validation loss, cosine to 0, or constant"
    )
    use_class_weights: bool = _hyper(False, "weight the loss of a class by the inverse of its share")
    epochs: int = _hyper(60, "passes over the training data")
    seed: int = _hyper(42, "of the weights, the order of the data and dropout")

    def __post_init__(self) -> None:
        at_least_one = ("latent_dim", "embed_dim", "depth", "heads", "mlp_dim", "batch_size", "epochs")
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"`{name} >= 1` must hold, but got {name}={getattr(self, name)}")
        for name in ("seq_len", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name} >= 0` must hold, but got {name}={getattr(self, name)}")
        if self.lr <= 0:
            raise ValueError(f"`lr > 0` must hold, but got lr={self.lr}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`0 <= dropout < 1` must hold, but got dropout={self.dropout}")
        if not heads_divide(self.embed_dim, self.heads):
            raise ValueError(
                f"`embed_dim % heads == 0` must hold, but got embed_dim={self.embed_dim}, heads={self.heads}"
            )

    def model(self) -> dict[str, Any]:
        """The arguments of LatentViT."""
        return {name: getattr(self, name) for name in MODEL_FIELDS}

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def heads_divide(embed_dim: int, heads: int) -> bool:
    """The rule of multi-head attention: every head gets an equal part of a token."""
    return embed_dim % heads == 0
