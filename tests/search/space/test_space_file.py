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


def lr(**values: Any) -> dict[str, Any]:
    return {"parameters": {"lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-3, **values}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
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
        ({"fixed": {"depth": 3}}, "fixed.depth: stands in parameters as well"),
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
    ],
)
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
    with pytest.raises(UserError, match="the key 'name' stands twice"):
        read_space(path)


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


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
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
            "parameters.g.parameters.depth: stands twice among the parameters",
        ),
        (
            {
                "mixup": {"values": [0.1], "when": {"ema_decay": 0.9}},
                "ema_decay": {"values": [0.9], "when": {"mixup": 0.1}},
            },
            "the conditions of mixup, ema_decay wait for each other",
        ),
    ],
)
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
