from __future__ import annotations

import ray

from fervit.cluster.connection import cluster_nodes, free_nodes
from fervit.cluster.gpu_nodes import GpuNodes
from fervit.cluster.nodes import Cluster
from fervit.search.preflight import slots
from fervit.search.space.settings import TrialResources
from fervit.search.workers.tuner import room_of
from tests.helpers.processes import wait_until


@ray.remote
class Other:
    """What another sweep on the same cluster holds."""

    def ready(self) -> bool:
        return True


def test_no_trial_is_planned_for_a_place_that_another_sweep_holds(cluster: Cluster) -> None:
    places = slots(TrialResources(), cluster_nodes())
    assert wait_until(lambda: slots(TrialResources(), free_nodes()) == places)
    room = room_of(TrialResources(), GpuNodes())
    assert [room.is_full(begun, 0) for begun in (places, places + 1)] == [False, True]  # one more than fit is planned
    other = Other.options(num_cpus=places).remote()  # type: ignore[attr-defined]
    ray.get(other.ready.remote())
    assert wait_until(lambda: slots(TrialResources(), free_nodes()) == 0)
    room = room_of(TrialResources(), GpuNodes())
    assert [room.is_full(begun, 0) for begun in (0, 1)] == [False, True]  # one waits, and no more
    room.is_full(2, 2)  # two processes of this sweep ...
    assert [room.is_full(begun, 0) for begun in (1, 2)] == [False, False]  # ... that have no trial now
    ray.kill(other)
    assert wait_until(lambda: slots(TrialResources(), free_nodes()) == places)


def test_no_more_trials_run_at_once_than_the_space_allows(cluster: Cluster) -> None:
    room = room_of(TrialResources(), GpuNodes(), most=1)
    assert [room.is_full(begun, begun) for begun in (0, 1, 2)] == [False, True, True]
