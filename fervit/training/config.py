"""The hyperparameters of a training, from which the flags, the YAML keys and the saved JSON are derived."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Interval

from fervit.io.files import JsonObject
from fervit.parsing import check_bounds

MODEL_FIELDS = (
    *("latent_dim", "seq_len", "embed_dim", "depth", "heads", "mlp_dim", "dropout"),
    *("pre_norm", "activation", "drop_path", "pooling", "standardise"),
)


AT_LEAST_0, AT_LEAST_1, SHARE = Interval(ge=0), Interval(ge=1), Interval(ge=0, lt=1)


def _hyper(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The hyperparameters of a training and of its model.

    The defaults are those of the training guide of the original LatentViT scripts, which fervit calls "the guide".

    Raises:
        ValueError: a value lies outside the bounds of its type, or `heads` does not divide `embed_dim`.
    """

    latent_dim: Annotated[int, AT_LEAST_1] = _hyper(512, "length of a style")
    seq_len: Annotated[int, AT_LEAST_0] = _hyper(18, "styles in a code; 0 takes what the latents have")
    embed_dim: Annotated[int, AT_LEAST_1] = _hyper(512, "width of a token, a multiple of heads")
    depth: Annotated[int, AT_LEAST_1] = _hyper(6, "encoder layers")
    heads: Annotated[int, AT_LEAST_1] = _hyper(8, "attention heads a layer")
    mlp_dim: Annotated[int, AT_LEAST_1] = _hyper(2048, "width of an encoder layer's hidden layer")
    dropout: Annotated[float, SHARE] = _hyper(0.1, "probability in the encoder layers")
    pre_norm: bool = _hyper(False, "LayerNorm before attention and perceptron rather than after")
    activation: Literal["relu", "gelu"] = _hyper("relu", "of the encoder layers")
    drop_path: Annotated[float, SHARE] = _hyper(
        0.0, "probability of leaving out a residual branch of the last layer, 0 in the first"
    )
    pooling: Literal["cls", "mean"] = _hyper("cls", "what the head reads: the class token or the mean of the styles")
    standardise: bool = _hyper(False, "standardise the codes by the training codes' mean and deviation")
    batch_size: Annotated[int, AT_LEAST_1] = _hyper(64, "codes a step")
    lr: Annotated[float, Interval(gt=0)] = _hyper(1e-4, "learning rate of AdamW")
    weight_decay: Annotated[float, AT_LEAST_0] = _hyper(1e-2, "weight decay of AdamW")
    scheduler: Literal["plateau", "cosine", "none"] = _hyper(
        "plateau", "learning rate: halved after 5 epochs without a higher validation macro-F1, cosine to 0, or constant"
    )
    use_class_weights: bool = _hyper(False, "weight the loss of a class by the inverse of its share")
    epochs: Annotated[int, AT_LEAST_1] = _hyper(60, "passes over the training data")
    warmup_epochs: Annotated[float, AT_LEAST_0] = _hyper(0.0, "epochs over which the learning rate rises from 0")
    label_smoothing: Annotated[float, SHARE] = _hyper(0.0, "share of a label that is spread over all classes")
    mixup: Annotated[float, AT_LEAST_0] = _hyper(
        0.0, "alpha of the Beta distribution that mixes pairs of codes; 0 mixes none"
    )
    latent_noise: Annotated[float, AT_LEAST_0] = _hyper(
        0.0, "noise added to training codes, in standard deviations of each number"
    )
    latent_mask: Annotated[float, SHARE] = _hyper(
        0.0, "probability of replacing a style of a training code by the mean"
    )
    grad_clip: Annotated[float, AT_LEAST_0] = _hyper(0.0, "largest norm of the gradient; 0 does not clip")
    ema_decay: Annotated[float, SHARE] = _hyper(
        0.0, "decay of the moving average of the weights that is measured and kept; 0 for none"
    )
    early_stop_patience: Annotated[int, AT_LEAST_0] = _hyper(
        0, "epochs without a better value after which training ends; 0 runs all"
    )
    data_fraction: Annotated[float, Interval(gt=0, le=1)] = _hyper(
        1.0, "share of the training rows to use, the same of every class"
    )
    precision: Literal["auto", "float32", "bfloat16"] = _hyper(
        "auto", "of the arithmetic; auto is bfloat16 where the hardware has it and the model is large enough to gain"
    )
    seed: Annotated[int, Interval(ge=0, lt=2**31)] = _hyper(
        42, "of the weights, the order of the data and all that is random in training"
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if not heads_divide(self.embed_dim, self.heads):
            raise ValueError(
                f"`embed_dim % heads == 0` must hold, but got embed_dim={self.embed_dim}, heads={self.heads}"
            )

    def model(self) -> JsonObject:
        """The keyword arguments of LatentViT."""
        return {name: getattr(self, name) for name in MODEL_FIELDS}

    def to_json(self) -> JsonObject:
        """All hyperparameters by name, as configuration files hold them."""
        return dataclasses.asdict(self)


def heads_divide(embed_dim: int, heads: int) -> bool:
    """Whether every attention head can get an equal part of a token, as multi-head attention requires."""
    return embed_dim % heads == 0
