from __future__ import annotations

import pytest

from fervit.api.tune import resolve_space
from fervit.cluster.nodes import Cluster, Node
from fervit.search.space.settings import TrialResources
from fervit.search.startup import computing, drawn_at_random, smaller, too_many_at_once
from tests.conftest import ROOT
from tests.helpers.simulated_sweeps import PARAMETERS, space_of


@pytest.mark.parametrize(
    ("sampler", "trials", "at_once", "warned"),
    [("tpe", 64, 64, True), ("tpe", 64, 16, False), ("random", 64, 64, False), ("gp", 8, 4, False), ("gp", 8, 5, True)],
)
def test_it_is_said_when_more_trials_start_at_once_than_the_sampler_can_learn_from(
    sampler: str, trials: int, at_once: int, warned: bool
) -> None:
    text = too_many_at_once(space_of(sampler, "none", 0, trials), at_once)
    assert bool(text) == warned
    if warned:
        assert f"set search.max_concurrent_trials={max(4, trials // 4)}" in text


@pytest.mark.parametrize("name", ["vit", "regularised", "demo"])
def test_the_flags_of_a_smaller_sweep_make_it_one(name: str) -> None:
    path = ROOT / "search_spaces" / f"{name}.yaml"
    large = resolve_space(path)
    small = resolve_space(path, smaller(large))
    assert small.search.trials <= 8
    assert small.early_stopping.max_epochs <= 12
    assert max(small.values_of("embed_dim")) <= 128


def test_a_range_of_widths_is_replaced_whole() -> None:
    wide = {"distribution": "int", "min": 256, "max": 512, "step": 64}
    large = resolve_space({"name": "s", "parameters": {"embed_dim": wide}})
    assert resolve_space(large, smaller(large)).values_of("embed_dim") == (64, 128)


@pytest.mark.parametrize(("sampler", "said"), [("cmaes", True), ("qmc", True), ("tpe", False), ("gp", False)])
def test_it_is_said_which_hyperparameters_a_sampler_of_numbers_draws_at_random(sampler: str, said: bool) -> None:
    parameters = {**PARAMETERS, "scheduler": {"values": ["cosine", "none"]}, "heads": {"values": [2, 4]}}
    text = drawn_at_random(space_of(sampler, "none", 0, 8, parameters=parameters))
    assert ("scheduler, heads at random" in text) == said  # depth is a list of numbers whose order matters
    assert drawn_at_random(space_of(sampler, "none", 0, 8)) == ""


@pytest.mark.parametrize(("mps", "at_the_same_time"), [(False, 1), (True, 2)])
def test_trials_that_share_a_gpu_in_turns_are_not_expected_to_save_time(mps: bool, at_the_same_time: int) -> None:
    node = Node(address="192.0.2.1", cpus=16, gpus=1)
    cluster = Cluster(nodes=(node,), dashboard=None, started_here=True)
    resources = TrialResources(gpus=0.25, mps=mps)
    assert computing(resources, cluster, 4) == at_the_same_time
    assert computing(TrialResources(gpus=1), cluster, 1) == 1
    assert computing(TrialResources(gpus=0), cluster, 16) == 16
