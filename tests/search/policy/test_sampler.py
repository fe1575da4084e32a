from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import optuna
import pytest
import yaml
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, TrialState

from fervit.search.ledger import Ledger
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import Outcome, SpaceSampler, outcome_of
from fervit.search.policy.sources import SearchSource
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.journal import JournalInMemory
from fervit.search.records.record import TrialRecord
from fervit.search.simulated import Curve, VirtualClock, run_simulated
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.settings import SearchSettings
from fervit.search.space.space_file import parse_space
from fervit.training.failure import Failure
from tests.conftest import SMALL_SPACE, WARMUP_WITH_COSINE
from tests.helpers.epochs import epoch_result


def space(**search: object) -> SearchSpace:
    raw = yaml.safe_load(SMALL_SPACE)
    raw["search"] |= search
    return parse_space(raw, "small.yaml")


SAMPLERS = get_args(get_type_hints(SearchSettings)["sampler"])


def space_for(sampler: str, more: dict[str, Any] | None = None, **search: object) -> SearchSpace:
    """Returns the small space for a sampler. The grid needs a list of values for every parameter."""
    raw = yaml.safe_load(SMALL_SPACE)
    raw["search"] |= {"sampler": sampler, "trials": 60} | search
    raw["parameters"] |= deepcopy(more or {})
    if sampler == "grid":
        for parameter in raw["parameters"].values():
            if "values" not in parameter:
                del parameter["distribution"]
                low, high = float(parameter.pop("min")), float(parameter.pop("max"))
                parameter["values"] = [low, 0.7 * low + 0.3 * high, 0.3 * low + 0.7 * high, high]
    return parse_space(raw, "small.yaml")


def answer(source: SpaceSampler, n: int) -> list[dict[str, object]]:
    """Asks for n configurations one after the other, and reports their results."""
    params = []
    for _ in range(n):
        number, one = source.ask()
        source.report(number, 1, float(one["lr"]))
        outcome = (Outcome.FINISHED, Outcome.STOPPED, Outcome.FAILED, Outcome.INFEASIBLE)[(number % 8) % 5 % 4]
        source.tell(number, outcome, float(one["lr"]))
        params.append(one)
    return params


@pytest.mark.parametrize("sampler", SAMPLERS)
class TestEverySampler:
    """The contract of every sampler."""

    def test_every_suggestion_keeps_the_rules_of_the_space(self, sampler: str) -> None:
        given = space_for(sampler)
        source = SpaceSampler(given)
        seen = set()
        for i in range(20):
            number, params = source.ask()
            assert number == i
            given.config(params)  # raises where heads do not divide embed_dim
            assert 1e-4 <= params["lr"] <= 1e-2
            seen.add((params["embed_dim"], params["heads"]))
            source.tell(number, Outcome.FINISHED, params["lr"])
        assert (8, 3) not in seen
        assert len(seen) >= 3

    def test_one_seed_fixes_the_suggestions_also_across_a_restart(self, sampler: str, tmp_path: Path) -> None:
        def whole(seed: int) -> list[dict[str, object]]:
            return answer(SpaceSampler(space_for(sampler, seed=seed)), 18)

        assert whole(1) == whole(1)
        assert whole(1) != whole(2)
        journal = tmp_path / "study.journal"
        begun = answer(SpaceSampler(space_for(sampler, seed=1), journal), 7)
        begun += answer(SpaceSampler(space_for(sampler, seed=1), journal), 6)
        assert begun + answer(SpaceSampler(space_for(sampler, seed=1), journal), 5) == whole(1)

    def test_trials_that_a_killed_process_asked_for_can_still_be_told_of(self, sampler: str, tmp_path: Path) -> None:
        first = SpaceSampler(space_for(sampler), tmp_path / "study.journal")
        for _ in range(3):
            first.ask()
        first.tell(1, Outcome.FINISHED, 0.5)
        second = SpaceSampler(space_for(sampler), tmp_path / "study.journal")
        assert second.ask().number == 3
        second.tell(1, Outcome.FINISHED, 0.7)  # a repeated call is ignored
        second.tell(0, Outcome.STOPPED, 0.5)
        third = SpaceSampler(space_for(sampler), tmp_path / "study.journal")
        assert [trial.state.name for trial in third.trials] == ["PRUNED", "COMPLETE", "RUNNING", "RUNNING"]
        assert third.trials[1].value == 0.5

    def test_a_trial_that_fails_or_can_never_run_ends_nothing(self, sampler: str) -> None:
        source = SpaceSampler(space_for(sampler))
        for i in range(15):
            number, params = source.ask()
            outcome = Outcome.INFEASIBLE if params["embed_dim"] == 12 else Outcome.FAILED if i % 3 else Outcome.FINISHED
            source.tell(number, outcome, 0.5)
            source.tell(number, Outcome.FINISHED, 0.9)  # a repeated call is ignored
        assert len(source.trials) == 15
        assert "RUNNING" not in {trial.state.name for trial in source.trials}

    def test_a_parameter_is_suggested_only_where_its_condition_holds(self, sampler: str) -> None:
        source = SpaceSampler(space_for(sampler, WARMUP_WITH_COSINE))
        schedulers = set()
        for params in answer(source, 20):
            schedulers.add(params["scheduler"])
            assert ("warmup_epochs" in params) == (params["scheduler"] == "cosine")
        assert schedulers == {"cosine", "none"}

    def test_warm_starts_come_first_with_defaults_for_what_they_leave_out(self, sampler: str) -> None:
        warm = [{"heads": 3, "embed_dim": 12}, {"lr": 1e-2}]
        source = SpaceSampler(space_for(sampler, {"dropout": {"values": [0.0, 0.1]}}, warm_start=warm))
        first, second = source.ask().params, source.ask().params
        assert (first["heads"], first["embed_dim"], first["lr"], first["dropout"]) == (3, 12, 1e-4, 0.1)
        assert (second["lr"], second["dropout"]) == (1e-2, 0.1)


def test_the_grid_has_every_configuration_once_in_an_order_of_the_seed() -> None:
    raw = yaml.safe_load(SMALL_SPACE)
    raw["search"] |= {"sampler": "grid", "trials": 100}
    raw["parameters"] = {**raw["parameters"], "lr": {"values": [1e-3, 1e-2]}}
    raw["parameters"]["warmup_epochs"] = {"values": [1.0, 2.0], "when": {"lr": 1e-2}}
    given = parse_space(raw, "small.yaml")

    def grid(seed: int) -> list[dict[str, object]]:
        source = SpaceSampler(replace(given, search=replace(given.search, seed=seed)))
        return [source.ask().params for _ in range(int(source.size))]

    every = list(given.configurations())
    assert len(every) == given.size() == 5 + 5 * 2
    assert grid(1) != grid(2)
    assert sorted(map(repr, map(sorted, map(dict.items, grid(1))))) == sorted(
        map(repr, map(sorted, map(dict.items, every)))
    )


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_two_objectives_are_told_and_learnt_from(sampler: str) -> None:
    raw = yaml.safe_load(SMALL_SPACE)
    raw["search"] |= {"sampler": sampler}
    raw["metric"]["against"] = "parameters"
    raw["early_stopping"]["scheduler"] = "none"
    source = SpaceSampler(parse_space(raw, "small.yaml"))
    for i in range(14):
        number, params = source.ask()
        source.report(number, 1, 0.5)
        if i % 4:
            source.tell(number, Outcome.FINISHED, float(params["lr"]), float(params["embed_dim"]))
        else:
            source.tell(number, Outcome.STOPPED)


def test_tpe_learns_where_the_good_values_are() -> None:
    source = SpaceSampler(space())
    drawn = []
    for _ in range(60):
        number, params = source.ask()
        source.tell(number, Outcome.FINISHED, -abs(params["lr"] - 5e-3))
        drawn.append(params["lr"])
    early, late = drawn[:10], drawn[-20:]
    assert sum(abs(v - 5e-3) for v in late) / 20 < sum(abs(v - 5e-3) for v in early) / 10


def test_optuna_is_told_what_became_of_each_trial(tmp_path: Path) -> None:
    source = SpaceSampler(space(), tmp_path / "study.journal")
    for outcome in Outcome:
        number, _ = source.ask()
        for epoch, value in ((1, 0.25), (2, 0.5), (2, 0.5)):  # a repeated report of an epoch is ignored
            source.report(number, epoch, value)
        source.tell(number, outcome, 0.5)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    )
    finished, stopped, failed, infeasible = optuna.load_study(study_name="small", storage=storage).trials
    assert [trial.state for trial in (finished, stopped, failed)] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
    ]
    assert stopped.intermediate_values == {1: 0.25, 2: 0.5}
    assert finished.value == 0.5
    assert infeasible.constraints == {"infeasible": 1.0}
    assert not finished.constraints


def test_tpe_keeps_away_from_what_runs_out_of_memory() -> None:
    def drawn(outcome: Outcome) -> int:
        source = SpaceSampler(space())
        wide = 0
        for i in range(50):
            number, params = source.ask()
            too_wide = params["embed_dim"] == 12
            source.tell(number, outcome if too_wide else Outcome.FINISHED, 0.5)
            wide += too_wide and i >= 20
        return wide

    assert drawn(Outcome.INFEASIBLE) < drawn(Outcome.FAILED)


def test_where_hardly_a_pair_can_be_built_one_is_still_found() -> None:
    raw = yaml.safe_load(SMALL_SPACE)
    raw["parameters"]["embed_dim"] = {"distribution": "int", "min": 1, "max": 512}
    raw["parameters"]["heads"] = {"values": [509]}
    source = SpaceSampler(parse_space(raw, "small.yaml"))
    for _ in range(12):
        number, params = source.ask()
        assert params["embed_dim"] == 509
        source.tell(number, Outcome.FINISHED, 0.5)


def test_what_optuna_is_told_of_each_end() -> None:
    def of(state: Any, failure: str = "") -> Outcome:
        told = Failure.parse(failure)
        return outcome_of(TrialRecord(number=0, name="", seed=0, params={}, state=state, failure=told))

    assert of("finished") is Outcome.FINISHED
    assert of("stopped") is Outcome.STOPPED
    assert of("failed", "diverged: the loss") is Outcome.INFEASIBLE
    assert of("failed", "out of memory: CUDA") is Outcome.INFEASIBLE


def simulated(sampler: str, trials: int) -> tuple[list[TrialRecord], list[FrozenTrial]]:
    """Runs a search with ASHA on made-up curves that rise to a value that the learning rate decides."""
    raw = yaml.safe_load(SMALL_SPACE)
    raw["search"] |= {"sampler": sampler, "trials": trials}
    raw["early_stopping"] = {"scheduler": "asha", "max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3}
    raw["parameters"] = {
        "lr": {"distribution": "log_uniform", "min": 1.0e-5, "max": 1.0e-1},
        "dropout": {"distribution": "uniform", "min": 0.0, "max": 0.9},
    }
    given = parse_space(raw, "small.yaml")
    clock = VirtualClock()
    rule = stopping_rule(given.early_stopping, given.metric)
    ledger = Ledger(given, JournalInMemory(clock), rule, clock=clock)
    source = SpaceSampler(given)
    ledger.use(SearchSource(given, source))

    def curve_of(planned: Planned) -> Curve:
        height = 1 - abs(math.log10(planned.params["lr"]) + 3) / 4 - planned.params["dropout"] / 4
        return [epoch_result(i, f1_macro=height * (1 - 0.5**i), seconds=1.0) for i in range(1, 10)]

    run_simulated(ledger, curve_of, clock, slots=4)
    return ledger.records, source.trials


def heights(records: list[TrialRecord]) -> float:
    """The mean of the highest values that the last trials could reach."""
    return sum(1 - abs(math.log10(r.params["lr"]) + 3) / 4 - r.params["dropout"] / 4 for r in records) / len(records)


@pytest.mark.parametrize(("sampler", "trials"), [("gp", 26), ("cmaes", 40), ("tpe", 40)])
def test_samplers_learn_from_trials_that_were_stopped_early(sampler: str, trials: int) -> None:
    records, _ = simulated(sampler, trials)
    stopped = sum(record.state == "stopped" for record in records)
    assert stopped > 13
    assert heights(records[-10:]) > heights(records[:10]) + 0.05


def test_cma_es_reaches_further_generations_under_early_stopping() -> None:
    _, study = simulated("cmaes", 40)
    assert max(t.system_attrs.get("cma:generation", 0) for t in study) >= 3


def test_tpe_keeps_away_from_what_diverges() -> None:
    def late(outcome: Outcome) -> int:
        raw = yaml.safe_load(SMALL_SPACE)
        raw["parameters"]["lr"] = {"distribution": "log_uniform", "min": 1.0e-5, "max": 1.0e-1}
        diverged = 0
        for seed in range(3):
            raw["search"]["seed"] = seed
            source = SpaceSampler(parse_space(raw, "small.yaml"))
            for i in range(40):
                number, params = source.ask()
                bad = params["lr"] > 1e-3
                source.tell(number, outcome if bad else Outcome.FINISHED, 0.5 + math.log10(params["lr"]) / 10)
                diverged += bad and i >= 16
        return diverged

    of = TrialRecord(number=0, name="", seed=0, params={}, state="failed", failure=Failure("diverged", "nan"))
    assert late(outcome_of(of)) < 0.7 * late(Outcome.FAILED)


def test_with_two_objectives_gp_keeps_away_from_what_diverges_too() -> None:
    def late(outcome: Outcome) -> int:
        raw = yaml.safe_load(SMALL_SPACE)
        raw["parameters"] = {"lr": {"distribution": "log_uniform", "min": 1.0e-5, "max": 1.0e-1}}
        raw["search"] |= {"sampler": "gp", "trials": 30, "warm_start": []}
        raw["metric"] |= {"against": "parameters"}
        raw["early_stopping"] = {"scheduler": "none"}
        source, diverged = SpaceSampler(parse_space(raw, "small.yaml")), 0
        for i in range(30):
            number, params = source.ask()
            bad = params["lr"] > 1e-3
            value = 0.5 + math.log10(params["lr"]) / 10
            source.tell(number, outcome if bad else Outcome.FINISHED, value, 1000)
            diverged += bad and i >= 12
        return diverged

    assert late(Outcome.INFEASIBLE) < late(Outcome.FAILED)


def test_a_configuration_that_was_tried_is_drawn_anew() -> None:
    raw = yaml.safe_load(SMALL_SPACE)
    raw["search"] |= {"sampler": "random", "trials": 60}
    raw["parameters"] = {
        name: {"values": [i / 10 for i in range(5)]} for name in ("dropout", "mixup", "label_smoothing")
    }
    source = SpaceSampler(parse_space(raw, "small.yaml"))
    assert len({tuple(source.ask().params.values()) for _ in range(60)}) == 60  # of 125


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "qmc"])
def test_samplers_see_the_order_of_a_list_of_numbers_and_the_study_keeps_its_values(sampler: str) -> None:
    given = space_for(sampler, {"weight_decay": {"values": [0.3, 0.0, 0.1, 0.2]}, "mixup": {"values": [0.0, 0.2]}})
    source = SpaceSampler(given)
    answer(source, 14)
    assert {trial.params["weight_decay"] for trial in source.trials} <= {0.0, 0.1, 0.2, 0.3}
    seen = source._view.get_trials(deepcopy=False)
    assert {str(trial.distributions["weight_decay"]) for trial in seen} == {str(IntDistribution(0, 3))}
    assert {trial.number: [0.0, 0.1, 0.2, 0.3][trial.params["weight_decay"]] for trial in seen} == {
        trial.number: trial.params["weight_decay"] for trial in source.trials
    }


def test_a_study_of_many_trials_goes_on_with_the_next_number(tmp_path: Path) -> None:
    """Samplers see a bounded number of trials, the study has all."""
    source = SpaceSampler(space(sampler="random"), tmp_path / "study.journal")
    for _ in range(260):
        number, _ = source.ask()
        source.tell(number, Outcome.FINISHED, 0.5)
    again = SpaceSampler(space(sampler="tpe"), tmp_path / "study.journal")
    assert len(again.trials) == 260
    assert again.ask().number == 260
