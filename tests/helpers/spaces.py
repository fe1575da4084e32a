"""Search spaces with and without mistakes, for what reads and what describes them."""

from __future__ import annotations

from typing import Any


def lr(**values: Any) -> dict[str, Any]:
    return {"parameters": {"lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-3, **values}}}


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"paramters": {}}, "s.yaml: there is no key 'paramters'; did you mean 'parameters'?"),
    (
        {"parameters": {"deph": {"values": [1]}}},
        "s.yaml: parameters: there is no key 'deph'; did you mean 'depth'?",
    ),
    ({"search": {"trails": 3}}, "s.yaml: search: there is no key 'trails'; did you mean 'trials'?"),
    (
        {"search": {"sampler": "bayes"}},
        "search.sampler: must be one of tpe, random, qmc, cmaes, gp, grid, but got 'bayes'",
    ),
    ({"search": {"trials": "many"}}, "s.yaml: search.trials: must be a whole number, but got 'many'"),
    (
        {"search": {"seed": 2**31 - 1}},
        "search.seed: `seed + 3 < 2**31` must hold, since reruns take the seeds after",
    ),
    ({"search": {"seed": 2**31 - 8}, "confirm": {"seeds": 9}}, "search.seed: `seed + 9 < 2**31` must hold"),
    ({"search": {"max_concurrent_trials": 0}}, "search: `max_concurrent_trials >= 1` must hold"),
    ({"confirm": {"hours": 0}}, "confirm: `hours > 0` must hold, but got hours=0.0"),
    ({"confirm": {"top": 1, "folds": 1}}, "confirm: `folds >= 2`, or 0 for none, must hold, but got folds=1"),
    ({"confirm": {"folds": 5, "top": 0}}, "confirm: `top >= 1` must hold with folds, but got top=0, folds=5"),
    ({"confirm": {"top": 1, "folds": 2.5}}, "confirm.folds: must be a whole number, but got 2.5"),
    ({"search": {"trials": 0}}, "s.yaml: search: `trials >= 1` must hold, but got trials=0"),
    ({"parameters": {}}, "s.yaml: the key 'parameters' is missing or empty"),
    (
        {"parameters": {"depth": {"values": []}}},
        "parameters.depth.values: must hold at least one value, but is empty",
    ),
    ({"parameters": {"depth": {"values": [2, 2]}}}, "parameters.depth.values: must not hold a value twice"),
    (
        {"parameters": {"depth": {"values": [2, "six"]}}},
        "parameters.depth.values[1]: must be a whole number, but got 'six'",
    ),
    ({"parameters": {"depth": {"values": [0]}}}, "parameters.depth: `depth >= 1` must hold, but got depth=0"),
    ({"parameters": {"depth": [1, 2]}}, "parameters.depth: must be {values: [...]}"),
    (
        {"parameters": {"depth": {"distribution": "uniform", "min": 1, "max": 2}}},
        "does not fit depth, which needs int",
    ),
    ({"parameters": {"scheduler": {"values": ["step"]}}}, "values[0]: must be one of plateau, cosine, none"),
    ({"parameters": {"heads": {"values": [0]}}}, "parameters.heads: `heads >= 1` must hold, but got 0"),
    ({"parameters": {"epochs": {"values": [5]}}}, "parameters.epochs: cannot be set here"),
    (lr(min=1e-2), "parameters.lr: `min <= max` must hold, but got min=0.01, max=0.001"),
    (lr(min=0), "parameters.lr: `min > 0` must hold on a logarithmic scale"),
    (lr(min="low"), "parameters.lr.min: must be a number, but got 'low'"),
    (lr(distribution="normal"), "parameters.lr.distribution: must be one of uniform, log_uniform, int"),
    (lr(step=2), "parameters.lr: there is no key 'step'"),
    ({"fixed": {"lr": "fast"}}, "s.yaml: fixed.lr: must be a number, but got 'fast'"),
    ({"fixed": {"depth": 3}}, "fixed.depth: is in parameters as well"),
    ({"fixed": {"heads": 7}}, "no value of heads divides one of embed_dim"),
    ({"metric": {"name": "val_loss", "goal": "maximize"}}, "metric: `goal: minimize` must hold for val_loss"),
    ({"early_stopping": {"grace_epochs": 99}}, "`1 <= grace_epochs <= max_epochs` must hold"),
    ({"search": {"warm_start": [{"depth": 5}]}}, "search.warm_start[0].depth: 5 lies outside parameters.depth"),
    ({"search": {"warm_start": [{"lr": 1}]}}, "search.warm_start[0]: there is no key 'lr'"),
    ({"trial": {"workers": 0}}, "trial: `workers >= 1` must hold"),
    ({"trial": {"workers": 2, "gpus": 0.5}}, "trial.gpus: with workers=2 each needs a whole GPU or none"),
    (
        {"metric": {"against": "parameters"}, "early_stopping": {"scheduler": "asha"}},
        "`scheduler: none` must hold with metric.against",
    ),
    ({"when": {"depth": 1}}, "there is no key 'when'"),
    ({"search": []}, "s.yaml: search: must be a mapping of keys to values, but got []"),
    ({"search": {"seed": 2**40}}, "`0 <= seed < 2**31` must hold"),
    ({"search": {"trials": 1, "warm_start": [{}, {}]}}, "2 warm starts do not fit into trials=1"),
    ({"fixed": {"heads": 0}}, "fixed.heads: `heads >= 1` must hold, but got 0"),
    ({"fixed": {"embed_dim": 0}}, "fixed.embed_dim: `embed_dim >= 1` must hold, but got 0"),
    ({"fixed": {"batch_size": 0}}, "s.yaml: fixed: `batch_size >= 1` must hold, but got batch_size=0"),
    (
        {"parameters": {"seq_len": {"values": [18]}}},
        "parameters.seq_len: cannot be set here, it is the latents' own",
    ),
    ({"parameters": {"heads": {"distribution": "int", "min": 1, "max": 10**9}}}, "pairs of embed_dim and heads"),
    (lr(max=10**400), "parameters.lr.max: must be a finite number"),
    ({"name": "../x"}, "name: must be 1 to 100 letters, digits, - and _"),
]
"""Sections that make a good space a wrong one, and a part of what the user is told."""
MISTAKEN_CONDITIONS: list[tuple[dict[str, Any], str]] = [
    (
        {"lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-3, "when": {"scheduler": "cosine"}}},
        "must name a",
    ),
    (
        {"mixup": {"values": [0.1], "when": {"depth": 3}}},
        "parameters.mixup.when.depth: 3 is none of parameters.depth",
    ),
    ({"mixup": {"values": [0.1], "when": {}}}, "parameters.mixup.when: must be a mapping such as"),
    ({"heads": {"values": [4], "when": {"depth": 1}}}, "embed_dim and heads are searched in every trial"),
    (
        {"g": {"when": {"depth": 1}, "parameters": {"depth": {"values": [3]}}}},
        "parameters.g.parameters.depth: appears twice among the parameters",
    ),
    (
        {
            "mixup": {"values": [0.1], "when": {"ema_decay": 0.9}},
            "ema_decay": {"values": [0.9], "when": {"mixup": 0.1}},
        },
        "the conditions of mixup, ema_decay wait for each other",
    ),
]
"""The same for parameters under conditions."""
CONDITIONS = {
    "name": "s",
    "parameters": {
        "cosine_only": {
            "when": {"scheduler": "cosine"},
            "parameters": {
                "warmup_epochs": {"values": [0.0, 1.0, 2.0]},
                "mixup": {"values": [0.2, 0.4], "when": {"depth": [2, 4]}},
            },
        },
        "depth": {"values": [1, 2, 4]},
        "scheduler": {"values": ["plateau", "cosine", "none"]},
    },
}
"""A space with conditions, which is right."""
