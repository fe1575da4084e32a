"""What a process may use: its affinity, the limits of its control groups and those above, its Slurm job."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fervit.system import hardware


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hierarchy of control groups, with 16 CPUs in the affinity mask."""
    monkeypatch.setattr(hardware, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(hardware, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    for name in ("SLURM_JOB_ID", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_without_limits_the_affinity_mask_counts(groups: Path) -> None:
    assert hardware.usable_cpus() == 16
    assert hardware.memory_limit() is None


@pytest.mark.parametrize("where", ["", "slice", "slice/job_7", "slice/job_7/step"])
def test_version_2_limits_in_any_group_above_count(groups: Path, where: str) -> None:
    write(groups / "own", "0::/slice/job_7/step")
    write(groups / "cgroup" / where / "cpu.max", "350000 100000")
    write(groups / "cgroup" / where / "memory.max", str(256 * 2**20))
    assert hardware.usable_cpus() == 3
    assert hardware.memory_limit() == 256 * 2**20


def test_version_1_limits_count_and_unlimited_ones_do_not(groups: Path) -> None:
    write(groups / "own", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/")
    for name, values in {"": ("-1", "100000"), "docker/abc": ("200000", "100000")}.items():
        for field, value in zip(("quota", "period"), values, strict=True):
            write(groups / "cgroup" / "cpu" / name / f"cpu.cfs_{field}_us", value)
    write(groups / "cgroup" / "memory" / "memory.limit_in_bytes", "9223372036854771712")
    assert hardware.usable_cpus() == 2
    assert hardware.memory_limit() is None
    write(groups / "cgroup" / "memory" / "docker" / "abc" / "memory.limit_in_bytes", str(2**28))
    assert hardware.memory_limit() == 2**28


def test_less_than_a_cpu_counts_as_one_and_a_slurm_job_limits_too(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "4")
    assert hardware.usable_cpus() == 4
    write(groups / "cgroup" / "cpu.max", "50000 100000")
    assert hardware.usable_cpus() == 1
