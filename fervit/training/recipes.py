"""Named sets of hyperparameters. What a recipe does not name has TrainConfig's default, the guide's."""

from __future__ import annotations

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    "guide": {},
    "strong": {},
}
