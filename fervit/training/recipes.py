"""Named sets of hyperparameters. What a recipe does not name has TrainConfig's default, the guide's."""

from __future__ import annotations

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    "guide": {},
    # Measured against the guide's in benchmarks/README.md: better, with a sixtieth of the weights.
    "strong": {
        **{"standardise": True, "use_class_weights": True, "pre_norm": True, "activation": "gelu", "pooling": "mean"},
        **{"depth": 2, "embed_dim": 128, "heads": 4, "mlp_dim": 256},
        **{"lr": 1e-3, "scheduler": "cosine", "warmup_epochs": 1.0, "epochs": 12, "grad_clip": 1.0},
        **{"dropout": 0.2, "weight_decay": 0.1, "mixup": 0.8, "ema_decay": 0.99},
    },
}
