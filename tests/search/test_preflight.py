from __future__ import annotations

import pytest

from fervit.cluster.nodes import Node
from fervit.errors import UserError
from fervit.search.preflight import placeable, slots
from fervit.search.space.settings import TrialResources

LAPTOP = [Node(address="127.0.0.1", cpus=2, gpus=0)]
FARM = [Node(address=f"10.0.0.{i}", cpus=4, gpus=1) for i in range(8)]


def test_without_a_gpu_trials_run_on_the_cpu_and_it_is_said() -> None:
    trial, remark = placeable(TrialResources(gpus=0.25), LAPTOP)
    assert trial.gpus == 0
    assert "no GPU in this cluster" in remark
    assert placeable(TrialResources(gpus=0.25), FARM) == (TrialResources(gpus=0.25), "")


def test_what_no_single_node_has_is_refused_though_the_cluster_has_it_in_total() -> None:
    with pytest.raises(UserError, match="needs 2 GPUs on one node, the largest has 4 CPUs and 1 GPUs"):
        placeable(TrialResources(gpus=2), FARM)
    with pytest.raises(UserError, match="needs 8 CPUs on one node, the largest has 4 CPUs"):
        placeable(TrialResources(cpus=8), FARM)
    mixed = [Node(address="a", cpus=16, gpus=0), Node(address="b", cpus=2, gpus=1)]
    with pytest.raises(UserError, match="needs 8 CPUs beside 1 GPUs on one node"):
        placeable(TrialResources(cpus=8, gpus=1), mixed)
    with pytest.raises(UserError, match="must be a share of one GPU or a whole number"):
        placeable(TrialResources(gpus=1.5), FARM)


def test_a_gpu_is_shared_as_ray_counts_shares() -> None:
    node = [Node(address="a", cpus=64, gpus=2)]
    for share, each in ((1.0, 1), (0.5, 2), (0.3, 3), (0.25, 4), (0.2, 5), (0.1, 10), (0.05, 20)):
        assert slots(TrialResources(gpus=share), node) == 2 * each
