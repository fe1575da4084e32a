"""What is said about a GPU that cannot be used, for each reason that there is, and what follows for the cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fervit.cluster.gpus import GpuFacts, GpuLook, find_driver, look_here, problem_of
from fervit.cluster.nodes import Cluster, Node
from fervit.system.hardware import FORCED_DEVICE
from tests.conftest import ROOT
from tests.helpers.gpus import A100, T4, UNSEEN, V100
from tests.helpers.processes import COUNTED_GPU, MISSING_GPU, alone

L4 = replace(A100, name="NVIDIA L4", capability=(8, 9))
NEWER = replace(A100, name="NVIDIA Next", capability=(13, 0))


@pytest.mark.parametrize(
    ("facts", "parts"),
    [
        (
            replace(UNSEEN, driver="550.54.15", error="The NVIDIA driver on your system is too old"),
            ("driver 550.54.15 is older than torch's CUDA 13.2 needs", "install driver 580 or newer", "CUDA 12.6"),
        ),
        (replace(UNSEEN, driver="", installed=0), ("there is no NVIDIA driver", "580 or newer", "--gpus all")),
        (replace(UNSEEN, visible="7"), ("CUDA_VISIBLE_DEVICES=7 names none of the GPUs here, which are 0", "unset it")),
        (replace(UNSEEN, visible="4,5", installed=4), ("CUDA_VISIBLE_DEVICES=4,5", "which are 0 to 3")),
        (replace(UNSEEN, visible="GPU-5ebe9f43"), ("CUDA_VISIBLE_DEVICES=GPU-5ebe9f43 names none",)),
        (
            replace(UNSEEN, error="CUDA unknown error"),
            ("torch sees no GPU (CUDA unknown error)", "`nvidia-smi`"),
        ),
        (V100, ("Tesla V100-SXM2-16GB is sm_70", "has kernels for sm_75, sm_80", "torch wheel of CUDA 12.6")),
        (NEWER, ("NVIDIA Next is sm_130", "install a newer torch")),
        (
            replace(A100, error="CUDA error: uncorrectable ECC error encountered"),
            ("a small product on NVIDIA A100-SXM4-80GB failed (CUDA error: uncorrectable ECC", "restart the machine"),
        ),
        (replace(A100, torch="2.15.0+cpu", cuda=None), ("torch 2.15.0+cpu is built without CUDA", "constraints.txt")),
        (
            replace(UNSEEN, torch="2.15.0+rocm7", cuda=None, hip="7.1", driver=""),
            ("torch 2.15.0+rocm7 sees no GPU of AMD", "`rocm-smi`"),
        ),
    ],
)
def test_each_reason_is_one_line_with_a_way_out(facts: GpuFacts, parts: tuple[str, ...]) -> None:
    problem = problem_of(facts)
    assert all(part in problem for part in parts), problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    "facts",
    [
        A100,
        T4,
        L4,  # sm_89 runs the code of sm_80 and sm_86
        replace(NEWER, architectures=("sm_90", "compute_90")),  # PTX is compiled where it runs
        replace(A100, driver="550.54.15"),  # newer libraries of CUDA beside an older driver: it works, so it is fine
        replace(A100, name="H100", capability=(9, 0), architectures=("sm_80", "sm_90a")),
        replace(A100, cuda=None, hip="7.1", architectures=(), capability=(9, 4), name="AMD Instinct MI300X"),
    ],
)
def test_a_gpu_that_works_has_no_problem(facts: GpuFacts) -> None:
    assert problem_of(facts) == ""


def test_code_for_another_generation_does_not_run() -> None:
    assert problem_of(replace(L4, architectures=("sm_90", "sm_75")))
    assert problem_of(replace(A100, architectures=("sm_86",)))
    assert problem_of(replace(A100, capability=(12, 1), architectures=("sm_120a",)))


def test_facts_survive_their_way_through_json() -> None:
    for facts in (A100, UNSEEN):
        assert GpuFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts


def test_the_driver_is_found_where_it_describes_itself(tmp_path: Path) -> None:
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    for text, version in (
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n", "550.54.15"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
    ):
        (tmp_path / "version").write_text(text)
        assert find_driver(tmp_path) == (version, 1)


def cluster(*nodes: Node, started_here: bool = False) -> Cluster:
    return Cluster(nodes=nodes, dashboard=None, started_here=started_here)


def node(name: str, gpus: float = 1) -> Node:
    return Node(address=name, cpus=4, gpus=gpus, node_id=name * 3)


def test_a_node_whose_gpu_cannot_be_used_is_left_out_and_the_others_go_on() -> None:
    look = GpuLook.of(cluster(node("a"), node("b"), node("c", gpus=0)), {"a": T4, "b": V100})
    assert [n.gpus for n in look.cluster.nodes] == [1, 0, 0]
    assert look.cluster.unusable == ("bbb",)
    assert look.seen == (T4,)
    assert look.remark("--no_use_gpu").startswith("GPU of node b: Tesla V100")
    assert look.remark("--no_use_gpu").endswith("that GPU is left out")


def test_without_any_gpu_that_can_be_used_the_cpu_is_used_and_the_flag_is_named() -> None:
    look = GpuLook.of(cluster(node("a"), node("b")), {"a": V100, "b": V100})
    assert look.cluster.gpus == 0
    assert look.remark("--no_use_gpu").startswith("GPU of node a and node b: Tesla V100")  # one reason, said once
    assert look.remark("--no_use_gpu").endswith("running on the CPU (--no_use_gpu does so without a look)")
    here = GpuLook.of(cluster(node("a"), started_here=True), {"a": "it gave no answer within 180 s"})
    assert here.why == "GPU of this machine: it gave no answer within 180 s"


def test_gpus_that_all_work_need_no_word() -> None:
    look = GpuLook.of(cluster(node("a")), {"a": A100})
    assert (look.cluster.gpus, look.cluster.unusable, look.remark("--no_use_gpu")) == (1, (), "")


def test_a_look_at_a_machine_without_a_gpu_says_what_torch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = look_here()  # GPUs are hidden from this process
    assert not facts.available
    assert facts.error
    assert problem_of(facts)


def look_before_ray_starts(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fervit.cluster.gpu_look", *args]
    return subprocess.run(command, env=alone(**more), capture_output=True, text=True, check=False)


def test_a_node_looks_at_its_gpu_before_it_starts_ray() -> None:
    bad = look_before_ray_starts(**MISSING_GPU)
    assert bad.returncode == 1
    assert bad.stderr.startswith("GPU: ")
    assert bad.stderr.count("\n") == 1
    cpu_type = look_before_ray_starts(RAY_OVERRIDE_RESOURCES=json.dumps({"CPU": 4}))
    assert (cpu_type.returncode, cpu_type.stdout, cpu_type.stderr) == (0, "", "")


@pytest.mark.gpu
def test_the_gpu_here_can_be_used() -> None:
    assert problem_of(look_here()) == ""


LOOK = """
from pathlib import Path
import sys
from fervit.cluster.connection import connect, free_nodes
from fervit.cluster.gpu_look import look_at_gpus
from tests.helpers.gpus import A100
with connect("local", Path(sys.argv[1])) as cluster:
    look = look_at_gpus(cluster, lambda: A100)
    print(len(look.seen), [node.gpus for node in free_nodes()])
"""


def test_after_a_look_the_gpu_is_free_as_before(tmp_path: Path) -> None:
    """Else the command would say that others have taken the places of its trials."""
    counted = {key: value for key, value in COUNTED_GPU.items() if key != FORCED_DEVICE}
    command = [sys.executable, "-c", LOOK, str(tmp_path / "ray.log")]
    done = subprocess.run(
        command, env=alone(**counted, PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=False
    )
    assert done.stdout == "1 [1.0]\n", done.stderr
