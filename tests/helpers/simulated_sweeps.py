"""Whole sweeps on made-up curves in virtual time, with the samplers and stopping rules of real ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fervit.search.ledger import Ledger
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import SearchSource
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.journal import JournalInMemory
from fervit.search.simulated import Curve, VirtualClock, run_simulated
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from tests.helpers.epochs import epoch_result

PARAMETERS = {
    "lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-1},
    "dropout": {"distribution": "uniform", "min": 0.0, "max": 0.5},
    "weight_decay": {"distribution": "log_uniform", "min": 1e-6, "max": 1e-1},
    "depth": {"values": [1, 2, 4, 6]},
}


def space_of(sampler: str, scheduler: str, seed: int, trials: int, **changes: Any) -> SearchSpace:
    """Makes a space with the default early stopping: 60 epochs, the first comparison after 6, a third goes on."""
    raw = {
        "name": "simulated",
        "search": {"sampler": sampler, "trials": trials, "seed": seed},
        "early_stopping": {"scheduler": scheduler},
        "parameters": PARAMETERS,
    }
    return parse_space({**raw, **changes}, "simulated")


def simulate(space: SearchSpace, *, noise: float, slots: int = 8) -> Ledger:
    """Runs a sweep whose curves rise to a value that depends on the configuration.

    Args:
        space: the search space, of `space_of`.
        noise: the standard deviation of what the seed adds to a curve; good configurations are some 0.1 apart.
        slots: how many trials run at once.
    """
    rng = np.random.default_rng(space.search.seed)

    def curve_of(planned: Planned) -> Curve:
        given = planned.params
        best = 0.7 - 0.06 * (math.log10(given["lr"]) + 3) ** 2 - 0.4 * (given["dropout"] - 0.2) ** 2
        best -= 0.01 * (math.log10(given["weight_decay"]) + 3) ** 2 + 0.02 * abs(math.log2(given["depth"]) - 1)
        best += rng.normal(0, noise)
        length = space.early_stopping.max_epochs
        values = best * (1 - np.exp(-np.arange(1, length + 1) / 8)) + rng.normal(0, noise / 4 + 1e-4, length)
        return [epoch_result(i, f1_macro=float(value), seconds=1.0) for i, value in enumerate(values, start=1)]

    clock = VirtualClock()
    rule = stopping_rule(space.early_stopping, space.metric)
    ledger = Ledger(space, JournalInMemory(clock), rule, clock=clock)
    ledger.use(SearchSource(space, SpaceSampler(space)))
    run_simulated(ledger, curve_of, clock, slots=slots)
    return ledger
