from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fervit.api.tune import resolve_space
from fervit.errors import UserError
from fervit.search.preflight import describe_space
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import override, parse_space, read_space
from fervit.training.config import TrainConfig
from tests.conftest import ROOT, SMALL_SPACE
from tests.helpers.spaces import CONDITIONS, MISTAKEN_CONDITIONS, MISTAKES


@pytest.mark.parametrize("path", sorted((ROOT / "search_spaces").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_space_that_ships_loads_and_survives_being_written(path: Path) -> None:
    space = read_space(path)
    assert parse_space(yaml.safe_load(yaml.safe_dump(space.to_json())), "again") == space
    space.config(space.example())


def test_what_is_not_named_has_the_training_default() -> None:
    space = parse_space({"name": "x", "parameters": {"depth": {"values": [2]}}, "fixed": {"batch_size": 8}}, "x")
    expected = TrainConfig(depth=2, batch_size=8, epochs=space.early_stopping.max_epochs, seed=space.search.seed)
    assert space.config({"depth": 2}) == expected


def test_overrides_go_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SMALL_SPACE)
    space = read_space(path, ["search.trials=16", "fixed.dropout=0.3", "trial.gpus=0.5", "budget.hours=2"])
    assert (space.search.trials, space.fixed["dropout"], space.trial.gpus, space.budget.hours) == (16, 0.3, 0.5, 2.0)


def test_numbers_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    """YAML 1.1, the loader's own, reads 1:30 as 90 and 042 as 34."""
    path = tmp_path / "s.yaml"
    path.write_text(SMALL_SPACE.replace("seed: 1", "seed: 042"))
    space = read_space(path, ["search.trials=1e2", "fixed.dropout=3e-1", "budget.hours=0100", "confirm.seeds=0x4"])
    assert (space.search.seed, space.search.trials, space.budget.hours, space.confirm.seeds) == (42, 100, 100.0, 4)
    assert space.fixed["dropout"] == 0.3
    for setting in ("budget.hours=1:30", "budget.gpu_hours=10:00"):
        with pytest.raises(UserError, match=r"hours: must be a number, but got '1"):
            read_space(path, [setting])
    with pytest.raises(UserError, match=r"search\.trials: must be a whole number, but got 15\.5"):
        read_space(path, ["search.trials=1.55e1"])


def test_null_takes_a_parameter_away(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SMALL_SPACE)
    space = read_space(path, ["parameters.lr=null", "fixed.mlp_dim=null", "budget.hours=null"])
    assert "lr" in read_space(path).parameters
    assert "lr" not in space.parameters
    assert "mlp_dim" not in space.fixed
    with pytest.raises(UserError, match="there is no key 'rl' to take away"):
        read_space(path, ["parameters.rl=null"])


@pytest.mark.parametrize(("section", "grace"), [({"max_epochs": 3}, 3), ({"max_epochs": 60}, 6), ({}, 6)])
def test_the_grace_follows_short_trials_unless_it_is_given(section: dict[str, int], grace: int) -> None:
    raw = {"name": "s", "parameters": {"depth": {"values": [1, 2]}}, "early_stopping": section}
    assert parse_space(raw, "s.yaml").early_stopping.grace_epochs == grace
    with pytest.raises(UserError, match="`1 <= grace_epochs <= max_epochs` must hold"):
        parse_space({**raw, "early_stopping": {**section, "grace_epochs": 61}}, "s.yaml")


def test_pairs_that_cannot_be_built_are_counted_and_said() -> None:
    space = parse_space(yaml.safe_load(SMALL_SPACE), "small.yaml")
    assert space.pairs_left_out() == (1, 6)  # 3 heads do not divide 8
    assert "1 of 6 pairs of embed_dim and heads are left out" in describe_space(space)
    assert not space.allowed({"heads": 3, "embed_dim": 8})
    assert space.allowed({"heads": 3, "embed_dim": 12})


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_a_mistake_is_one_line_that_names_the_place_and_the_rule(change: dict[str, Any], message: str) -> None:
    raw = {"name": "s", "parameters": {"depth": {"values": [1, 2]}}, **change}
    with pytest.raises(UserError) as error:
        parse_space(raw, "s.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_yaml_and_a_wrong_override_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: [x\nparameters: }")
    with pytest.raises(UserError, match="is not valid YAML") as error:
        read_space(path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="there is no such file"):
        read_space(tmp_path / "none.yaml")
    path.write_text(SMALL_SPACE)
    with pytest.raises(UserError, match="must be of the form"):
        read_space(path, ["trials"])
    with pytest.raises(UserError, match="'name' is not a section"):
        read_space(path, ["name.x=3"])


def test_a_yaml_file_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"name: !!python/object/apply:pathlib.Path.touch ['{tmp_path}/executed']\n")
    with pytest.raises(UserError, match="is not valid YAML"):
        read_space(path)
    assert not (tmp_path / "executed").exists()


def test_a_huge_range_costs_no_memory() -> None:
    raw = {"name": "s", "parameters": {"depth": {"distribution": "int", "min": 1, "max": 10**9}}}
    assert parse_space(raw, "s.yaml").size() == 10**9


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: x\nparameters: {depth: {values: [1]}}\nname: y\n")
    with pytest.raises(UserError, match="the key 'name' appears twice"):
        read_space(path)


def test_a_parameter_under_a_condition_is_searched_where_that_holds() -> None:
    space = parse_space(CONDITIONS, "s.yaml")
    assert space.when == {
        "warmup_epochs": {"scheduler": ("cosine",)},
        "mixup": {"scheduler": ("cosine",), "depth": (2, 4)},
    }
    every = list(space.configurations())
    # plateau and none: 3 depths each; cosine: depth 1 with 3 warm-ups, depths 2 and 4 with 3 x 2.
    assert len(every) == space.size() == 6 + 3 + 12
    assert len({tuple(sorted(params.items())) for params in every}) == len(every)
    for params in every:
        assert ("warmup_epochs" in params) == (params["scheduler"] == "cosine")
        assert ("mixup" in params) == (params["scheduler"] == "cosine" and params["depth"] > 1)
    assert space.config({"depth": 1, "scheduler": "none"}).warmup_epochs == TrainConfig().warmup_epochs
    assert parse_space(space.to_json(), "again") == space


def test_the_size_counts_conditions_on_embed_dim_too() -> None:
    wide = {"values": [1, 2], "when": {"embed_dim": 12}}
    raw = {"heads": {"values": [2, 3]}, "embed_dim": {"values": [8, 12]}, "depth": wide}
    space = parse_space({"name": "s", "parameters": raw}, "s.yaml")
    assert len(list(space.configurations())) == space.size() == 1 + 2 * 2


@pytest.mark.parametrize(("parameters", "message"), MISTAKEN_CONDITIONS)
def test_a_condition_that_makes_no_sense_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_space({"name": "s", "parameters": {"depth": {"values": [1, 2]}, **parameters}}, "s.yaml")
    assert message in str(error.value)


def test_a_warm_start_outside_its_condition_and_an_endless_grid_are_refused() -> None:
    search = {"warm_start": [{"scheduler": "none", "warmup_epochs": 1.0}]}
    with pytest.raises(UserError, match=r"warm_start\[0\].warmup_epochs: is searched with scheduler cosine only"):
        parse_space({**CONDITIONS, "search": search}, "s.yaml")
    lr = {"lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-3}}
    with pytest.raises(UserError, match=r"grid needs values: .* for every parameter, but lr has no end of them"):
        parse_space({"name": "s", "parameters": lr, "search": {"sampler": "grid"}}, "s.yaml")


def test_the_tag_of_a_number_on_something_else_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: !number many\n")
    with pytest.raises(UserError, match="'many' is no number"):
        read_space(path)


def test_a_break_in_what_a_message_cites_does_not_break_its_line() -> None:
    with pytest.raises(UserError) as told:
        override({"parameters": {"heads": {"values": [1]}}}, "parameters.heads.values.0=\r")
    assert len(str(told.value).splitlines()) == 1


def test_no_default_refuses_what_the_file_says() -> None:
    def of(**sections: Any) -> SearchSpace:
        return parse_space({"name": "x", "parameters": {"depth": {"values": [1, 2]}}, **sections}, "x.yaml")

    assert of(metric={"name": "val_loss"}).metric.goal == "minimize"
    assert of(metric={"against": "parameters"}).early_stopping.scheduler == "none"
    assert of(confirm={"folds": 5}).confirm.top == 1
    assert of(early_stopping={"max_epochs": 3}).early_stopping.grace_epochs == 3
    assert resolve_space(of(), {"early_stopping.max_epochs": 3}).early_stopping.grace_epochs == 3
    for wrong in (
        {"metric": {"name": "val_loss", "goal": "maximize"}},
        {"metric": {"against": "parameters"}, "early_stopping": {"scheduler": "asha"}},
        {"confirm": {"folds": 5, "top": 0}},
    ):
        with pytest.raises(UserError, match="must hold"):
            of(**wrong)
