from __future__ import annotations

import pytest

from fervit.cluster.nodes import Node
from fervit.errors import UserError
from fervit.search.preflight import check_budget, placeable, slots
from fervit.search.space.settings import Budget, TrialResources

LAPTOP = [Node(address="127.0.0.1", cpus=2, gpus=0)]
FARM = [Node(address=f"10.0.0.{i}", cpus=4, gpus=1) for i in range(8)]


def test_without_a_gpu_trials_run_on_the_cpu_and_it_is_said() -> None:
    trial, remark = placeable(TrialResources(gpus=0.25), LAPTOP)
    assert trial.gpus == 0
    assert "no GPU in this cluster" in remark
    assert placeable(TrialResources(gpus=0.25), FARM) == (TrialResources(gpus=0.25), "")


def test_what_no_single_node_has_is_refused_though_the_cluster_has_it_in_total() -> None:
    half = [Node(address="a", cpus=4, gpus=0.5)]
    with pytest.raises(UserError, match=r"needs 1 GPUs on one node, the largest has 4 CPUs and 0.5 GPUs"):
        placeable(TrialResources(gpus=1), half)
    with pytest.raises(UserError, match="needs 8 CPUs on one node, the largest has 4 CPUs"):
        placeable(TrialResources(cpus=8, gpus=0), FARM)
    mixed = [Node(address="a", cpus=16, gpus=0), Node(address="b", cpus=2, gpus=1)]
    with pytest.raises(UserError, match="needs 8 CPUs beside 1 GPUs on one node"):
        placeable(TrialResources(cpus=8, gpus=1), mixed)
    for wrong in (1.5, 2):
        with pytest.raises(UserError, match=f"trial.gpus: a worker trains on one GPU, but got {wrong}; .*workers=N"):
            placeable(TrialResources(gpus=wrong), FARM)


def test_a_space_that_does_not_speak_of_gpus_gets_one_a_worker_where_there_are_some() -> None:
    trial, remark = placeable(TrialResources(), FARM)
    assert trial.gpus == 1
    assert "a GPU for each worker (--set trial.gpus=0.25" in remark
    assert slots(trial, FARM) == 8
    assert placeable(TrialResources(), LAPTOP) == (TrialResources(gpus=0), "")
    assert placeable(TrialResources(gpus=0), FARM) == (TrialResources(gpus=0), "")


def test_gpus_that_cannot_be_used_are_said_and_refused_to_who_asks_for_them() -> None:
    for trial in (TrialResources(), TrialResources(gpus=0.5)):
        placed, remark = placeable(trial, LAPTOP, problem="GPU of this machine: driver 470 is too old")
        assert placed.gpus == 0
        assert remark.startswith("GPU of this machine: driver 470 is too old; trials run on the CPU")
    with pytest.raises(UserError, match=r"trial.gpus=0.5: GPU of this machine: driver 470 is too old; or --set trial"):
        placeable(TrialResources(gpus=0.5), LAPTOP, problem="GPU of this machine: driver 470 is too old", asked=True)
    with pytest.raises(UserError, match=r"trial.gpus=0.5: no node of this cluster has a GPU"):
        placeable(TrialResources(gpus=0.5), LAPTOP, asked=True)


def test_gpu_hours_that_can_never_be_spent_are_refused() -> None:
    check_budget(Budget(gpu_hours=1), TrialResources(gpus=0.5))
    check_budget(Budget(hours=1), TrialResources(gpus=0))
    with pytest.raises(UserError, match=r"budget.gpu_hours: 1 would never be spent, .* --set budget.hours=N"):
        check_budget(Budget(gpu_hours=1), TrialResources(gpus=0))


def test_a_gpu_is_shared_as_ray_counts_shares() -> None:
    node = [Node(address="a", cpus=64, gpus=2)]
    for share, each in ((1.0, 1), (0.5, 2), (0.3, 3), (0.25, 4), (0.2, 5), (0.1, 10), (0.05, 20)):
        assert slots(TrialResources(gpus=share), node) == 2 * each


def test_a_cpu_is_shared_as_ray_counts_shares() -> None:
    node = [Node(address="a", cpus=8, gpus=0)]
    for share, each in ((0.05, 160), (0.1, 80), (0.2, 40), (0.3, 26), (1.0, 8), (3.0, 2)):
        assert slots(TrialResources(cpus=share, gpus=0), node) == each
