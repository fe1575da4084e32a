from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from fervit.search.sampler import Outcome, SpaceSampler
from fervit.search.space import SearchSpace
from fervit.search.space_file import parse_space
from tests.conftest import SMALL_SPACE


def space(**search: object) -> SearchSpace:
    raw = yaml.safe_load(SMALL_SPACE)
    raw["search"] |= search
    return parse_space(raw, "small.yaml")


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_every_suggestion_keeps_the_rules_of_the_space(sampler: str) -> None:
    given = space(sampler=sampler)
    source = SpaceSampler(given)
    seen = set()
    for i in range(40):
        number, params = source.ask()
        assert number == i
        given.config(params)  # raises where heads do not divide embed_dim
        assert 1e-4 <= params["lr"] <= 1e-2
        seen.add((params["embed_dim"], params["heads"]))
        source.tell(number, Outcome.FINISHED, params["lr"])
    assert (8, 3) not in seen
    assert len(seen) >= 3


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_one_seed_fixes_the_suggestions(sampler: str) -> None:
    def suggestions(seed: int) -> list[dict[str, object]]:
        source = SpaceSampler(space(sampler=sampler, seed=seed))
        params = []
        for _ in range(15):
            number, one = source.ask()
            source.tell(number, Outcome.FINISHED, float(one["lr"]))
            params.append(one)
        return params

    assert suggestions(1) == suggestions(1)
    assert suggestions(1) != suggestions(2)


def test_tpe_learns_where_the_good_values_are() -> None:
    source = SpaceSampler(space())
    drawn = []
    for _ in range(60):
        number, params = source.ask()
        source.tell(number, Outcome.FINISHED, -abs(params["lr"] - 5e-3))
        drawn.append(params["lr"])
    early, late = drawn[:10], drawn[-20:]
    assert sum(abs(v - 5e-3) for v in late) / 20 < sum(abs(v - 5e-3) for v in early) / 10


def test_warm_starts_come_first_with_defaults_for_what_they_leave_out() -> None:
    raw = yaml.safe_load(SMALL_SPACE)
    raw["parameters"]["dropout"] = {"values": [0.0, 0.1]}
    raw["search"]["warm_start"] = [{"heads": 3, "embed_dim": 12}, {"lr": 1e-3}]
    source = SpaceSampler(parse_space(raw, "small.yaml"))
    first, second = source.ask().params, source.ask().params
    assert (first["heads"], first["embed_dim"], first["lr"], first["dropout"]) == (3, 12, 1e-4, 0.1)
    assert (second["lr"], second["dropout"]) == (1e-3, 0.1)


def test_optuna_is_told_what_became_of_each_trial(tmp_path: Path) -> None:
    source = SpaceSampler(space(), tmp_path / "study.journal")
    for outcome in (Outcome.FINISHED, Outcome.STOPPED, Outcome.FAILED):
        number, _ = source.ask()
        source.report(number, 1, 0.25)
        source.report(number, 2, 0.5)
        source.tell(number, outcome, 0.5)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    )
    trials = optuna.load_study(study_name="small", storage=storage).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert trials[1].intermediate_values == {1: 0.25, 2: 0.5}
    assert trials[0].value == 0.5


def test_where_hardly_a_pair_can_be_built_one_is_still_found() -> None:
    raw = yaml.safe_load(SMALL_SPACE)
    raw["parameters"]["embed_dim"] = {"distribution": "int", "min": 1, "max": 512}
    raw["parameters"]["heads"] = {"values": [509]}
    source = SpaceSampler(parse_space(raw, "small.yaml"))
    for _ in range(12):
        number, params = source.ask()
        assert params["embed_dim"] == 509
        source.tell(number, Outcome.FINISHED, 0.5)
