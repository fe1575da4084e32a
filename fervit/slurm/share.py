"""What Slurm gave a job on this node: CPUs, GPUs and memory. Ray would otherwise count those of the whole machine."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
SMALLEST_STORE = 80 * MIB
"""Ray refuses an object store that is much smaller."""
STORE_SHARE = 0.3
"""The share of the memory that the object store may take, as in Ray."""
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class Share:
    """The resources of a job on one node."""

    cpus: int
    gpus: int
    memory: int | None
    """The bytes for processes and the object store together; None if Slurm sets no limit."""

    def flags(self, shm_free: int) -> list[str]:
        """Returns the flags of `ray start`.

        Args:
            shm_free: the free bytes of /dev/shm, which holds the object store.
        """
        flags = [f"--num-cpus={self.cpus}", f"--num-gpus={self.gpus}"]
        memory = self.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        store = max(SMALLEST_STORE, int(min(STORE_SHARE * memory, 0.8 * shm_free)))
        flags.append(f"--object-store-memory={store}")
        if self.memory is not None:
            flags.append(f"--memory={max(MIB, self.memory - store)}")
        return flags


def share_of_job(environment: Mapping[str, str]) -> Share:
    """Reads what Slurm gave from the variables of a job's step, the CPUs of this process, and its control group.

    Args:
        environment: the variables of a process that srun started.
    """
    given = int(environment.get("SLURM_CPUS_ON_NODE") or 0)
    bound = len(os.sched_getaffinity(0))  # the whole machine, where Slurm binds no processes
    cpus = min(given, bound) if given and bound < (os.cpu_count() or 1) else given or bound
    limits = [limit for limit in (_memory_in_slurm(environment, cpus), _memory_in_cgroup()) if limit]
    return Share(cpus=max(1, cpus), gpus=_gpus(environment), memory=min(limits, default=None))


def _gpus(environment: Mapping[str, str]) -> int:
    """The GPUs in CUDA_VISIBLE_DEVICES, of which Ray hands out each by its name there."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")])
    return int(environment.get("SLURM_GPUS_ON_NODE") or 0)


def _memory_in_slurm(environment: Mapping[str, str], cpus: int) -> int | None:
    """The bytes of the job on this node; None if it may take all. Slurm gives MiB, or a number with a unit."""
    for name, times in (("SLURM_MEM_PER_NODE", 1), ("SLURM_MEM_PER_CPU", cpus)):
        found = re.fullmatch(r"(\d+)([KMGT]?)", environment.get(name, ""))
        if found and int(found[1]):
            unit: int = 1024 ** ("KMGT".index(found[2] or "M") + 1)
            return int(found[1]) * unit * times
    return None


def _memory_in_cgroup() -> int | None:
    """The smallest limit of this process's control groups in bytes; None if there is none."""
    limits = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, inner = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = CGROUPS / controllers
        group = root / inner.strip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            for name in ("memory.max", "memory.limit_in_bytes"):
                try:
                    limits.append(int((folder / name).read_text()))
                except (OSError, ValueError):
                    continue
    return min((limit for limit in limits if limit < 2**60), default=None)


def free_bytes(folder: Path) -> int:
    """Returns the free bytes of the disk of a folder; 0 if there is no such folder."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
