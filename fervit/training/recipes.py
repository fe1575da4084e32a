"""Recipes: named sets of hyperparameters. What a recipe does not name has the default of `TrainConfig`.

The recipe "guide" is the experiment guide of the original LatentViT scripts, which the defaults are taken from.
"""

from __future__ import annotations

from fervit.io.files import JsonObject

THE_GUIDE = (
    "the experiment guide of the original LatentViT scripts (github.com/yuki-ominato/FER-ViT, EXPERIMENT_GUIDE.md)"
)
"""What fervit calls "the guide", as one cites it."""
GUIDE_RESULT = "55.48 % accuracy and 54.75 % macro-F1 on FER2013's test split (7,178 faces) with pSp codes, one seed"
"""What the checkpoint that the guide names reaches."""

RECIPES: dict[str, JsonObject] = {
    "guide": {},
    # Better than the guide on W+ codes with a sixtieth of the weights; found by a search (benchmarks/README.md).
    "strong": {
        **{"standardise": True, "pre_norm": True, "activation": "gelu", "pooling": "mean"},
        **{"depth": 2, "embed_dim": 128, "heads": 4, "mlp_dim": 256},
        **{"lr": 1e-3, "scheduler": "cosine", "warmup_epochs": 1.0, "epochs": 16, "grad_clip": 1.0},
        **{"dropout": 0.2, "weight_decay": 0.1, "ema_decay": 0.99},
        **{"mixup": 0.8, "latent_noise": 0.5, "latent_mask": 0.15},
    },
}
