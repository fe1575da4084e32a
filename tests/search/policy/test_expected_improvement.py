from __future__ import annotations

import math

import numpy as np
import yaml

from fervit.search.policy.expected_improvement import expected_improvement
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from tests.conftest import SMALL_SPACE, WARMUP_WITH_COSINE
from tests.helpers.epochs import epoch_result


def trials(space: SearchSpace, n: int) -> list[TrialRecord]:
    """Makes trials whose value depends only on lr, with its peak at 1e-3."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(n):
        lr = float(10 ** rng.uniform(-4, -2))
        params = {"lr": lr, "heads": int(rng.choice([2, 3, 4])), "embed_dim": 12}
        record = TrialRecord(number=number, name=str(number), seed=1, params=params, state="finished")
        record.epochs = [epoch_result(1, f1_macro=0.5 - 0.1 * (math.log10(lr) + 3) ** 2)]
        records.append(record)
    return records


def test_the_more_is_known_the_less_is_to_be_gained() -> None:
    raw = yaml.safe_load(SMALL_SPACE)
    raw["parameters"]["embed_dim"] = {"values": [12]}
    space = parse_space(raw, "small.yaml")
    assert expected_improvement(space, [], 0.01) == math.inf
    few, many = (expected_improvement(space, trials(space, n), 0.005) for n in (10, 60))
    assert few > 2 * many > 0
    # A value that no trial had yet may be better than all that is known.
    assert (
        expected_improvement(parse_space(yaml.safe_load(SMALL_SPACE), "small.yaml"), trials(space, 60), 0.005)
        > 2 * many
    )


def test_with_conditions_and_lists_too() -> None:
    raw = yaml.safe_load(SMALL_SPACE)
    raw["parameters"] |= WARMUP_WITH_COSINE
    space = parse_space(raw, "small.yaml")
    records = trials(space, 20)
    for record in records:
        record.params["scheduler"] = ("cosine", "none")[record.number % 2]
        if record.params["scheduler"] == "cosine":
            record.params["warmup_epochs"] = 1.0
    assert 0 < expected_improvement(space, records, 0.01) < 0.1
