"""Whether trials fit into a job, and the job onto the nodes of a cluster."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.search.space.settings import TrialResources
from fervit.slurm.fits import NodeKind, check_fits, check_trial, cpus_for, nodes_of_slurm
from fervit.slurm.script import Request

SMALL = NodeKind(partition="cpu", default=True, cpus=8, gpus=0, limit=3600.0)
LARGE = NodeKind(partition="gpu", default=False, cpus=64, gpus=4, limit=math.inf)


def request(**changes: object) -> Request:
    wanted = {"name": "fervit-vit", "nodes": 2, "cpus_per_node": 8, "gpus_per_node": 0, "time": "00:30:00"}
    return Request(**{**wanted, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"partition": "gpus"}, "--partition gpus: there is none; this cluster has cpu, gpu"),
        ({"cpus_per_node": 9}, "no node of partition cpu has 9 CPUs and 0 GPUs: the largest has 8 CPUs and 0 GPUs"),
        ({"gpus_per_node": 1}, "no node of partition cpu has 8 CPUs and 1 GPUs"),
        ({"partition": "gpu", "gpus_per_node": 5}, "the largest has 64 CPUs and 4 GPUs"),
        ({"time": "02:00:00"}, "partition cpu allows 1 hours"),
        ({"sbatch": ("-p", "gpus")}, "--partition gpus: there is none"),
        ({"partition": "gpu", "gpus_per_node": 4, "sbatch": ("--partition=cpu",)}, "no node of partition cpu"),
    ],
)
def test_a_job_that_fits_no_node_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_fits(request(**changes), [SMALL, LARGE], {})
    check_fits(request(), [SMALL, LARGE], {})
    check_fits(request(partition="gpu", gpus_per_node=4, time="2-00"), [SMALL, LARGE], {})


def test_a_trial_that_does_not_fit_into_the_job_is_refused() -> None:
    with pytest.raises(UserError, match=r"needs 16 CPUs and 0 GPUs on one node, the job asks for 8 CPUs and 0 GPUs"):
        check_trial(TrialResources(cpus=16), request())
    with pytest.raises(UserError, match="needs 1 CPUs and 2 GPUs"):
        check_trial(TrialResources(cpus=1, gpus=2), request(gpus_per_node=1))
    with pytest.raises(UserError, match=r"trial.workers: 8 workers of 1 CPUs and 1 GPUs do not fit .* 4 do; raise"):
        check_trial(TrialResources(workers=8, gpus=1), request(nodes=1, gpus_per_node=4))
    with pytest.raises(UserError, match=r"--workers: 8 workers of 1 CPUs and 0 GPUs do not fit .* 4 do; raise"):
        check_trial(TrialResources(workers=8), request(nodes=1, cpus_per_node=4), "--workers")
    check_trial(TrialResources(workers=8, gpus=1), request(nodes=2, gpus_per_node=4))
    assert check_trial(TrialResources(cpus=8), request()) == ""
    assert "on the CPU" in check_trial(TrialResources(cpus=1, gpus=1), request())


@pytest.mark.parametrize(
    ("trial", "nodes", "gpus", "cpus"),
    [
        (TrialResources(), 1, 0, 4),
        (TrialResources(), 1, 8, 8),
        (TrialResources(cpus=2), 1, 8, 16),
        (TrialResources(cpus=2, gpus=0.25), 1, 2, 16),
        (TrialResources(gpus=1), 1, 1, 1),
        (TrialResources(gpus=0, cpus=3), 1, 4, 12),
        (TrialResources(workers=16), 2, 0, 8),
    ],
)
def test_a_node_gets_the_cpus_that_its_gpus_can_use(trial: TrialResources, nodes: int, gpus: int, cpus: int) -> None:
    assert cpus_for(trial, nodes, gpus) == cpus
    check_trial(trial, request(nodes=nodes, gpus_per_node=gpus, cpus_per_node=cpus))


def test_what_the_environment_of_sbatch_says_counts() -> None:
    with pytest.raises(UserError, match=r"^SBATCH_PARTITION=gpus: there is none"):
        check_fits(request(), [SMALL, LARGE], {"SBATCH_PARTITION": "gpus"})
    check_fits(request(gpus_per_node=4), [SMALL, LARGE], {"SBATCH_PARTITION": "gpu"})


@pytest.mark.parametrize("flags", [("--constraint=a100",), ("-w", "node7"), ("--gres=gpu:8",), ("-Mother",)])
def test_only_slurm_knows_what_fits_where_nodes_are_chosen_in_another_way(flags: tuple[str, ...]) -> None:
    check_fits(request(partition="elsewhere", cpus_per_node=99, sbatch=flags), [SMALL, LARGE], {})


def test_a_headline_of_a_clusters_own_sinfo_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "sinfo"
    program.write_text("""#!/bin/bash
echo "*** maintenance on Monday | see the wiki ***"
echo "PARTITION|CPUS|GRES|TIMELIMIT"
echo "cpu*|8+|(null)|1:00:00"
echo "gpu|64|gpu:a100:4(S:0-1)|infinite"
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert nodes_of_slurm() == [SMALL, LARGE]
