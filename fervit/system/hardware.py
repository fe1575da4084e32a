"""Chooses the device for computing and the precision of the encoder on it, and finds out what of this machine the
process may use."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath

FORCED_DEVICE = "FERVIT_DEVICE"
"""The environment variable that names the device of all arithmetic, whatever Ray reserves. The tests set it to `cpu`
together with GPUs that Ray counts but that do not exist (RAY_OVERRIDE_RESOURCES)."""

FAST_FLOAT16 = (7, 0)
"""The first compute capability with fast float16: that of the V100, before the T4 (7.5) and the A100 (8.0)."""


def device_of(gpus: float) -> str:
    """The device of a process that has reserved some GPUs, or a share of one: "cuda", or "cpu" for 0."""
    return os.environ.get(FORCED_DEVICE) or ("cuda" if gpus else "cpu")


def usable_cpus() -> int:
    """The CPUs that this process may use: those of its affinity mask, its control groups and its Slurm job, at least 1.

    A quota of 1.5 CPUs counts as 1.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(cpus), *cpu_quotas()]
    if os.environ.get("SLURM_JOB_ID") and os.environ.get("SLURM_CPUS_ON_NODE", "").isdigit():
        limits.append(float(os.environ["SLURM_CPUS_ON_NODE"]))
    return max(1, int(min(limits)))


def memory_limit() -> int | None:
    """The bytes of memory that this process and its children may take; None where only the machine's memory limits.

    Limits that exceed the machine's memory count as none.
    """
    import resource  # which Windows lacks

    limits = [int(text) for text in _cgroup_files("memory", "memory.max", "memory.limit_in_bytes") if text.isdigit()]
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    limits += [soft] if soft != resource.RLIM_INFINITY else []
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min((limit for limit in limits if limit < whole), default=None)


def usable_memory() -> int:
    """The bytes of memory that this process and its children may take at most: the limit, or the machine's memory."""
    return memory_limit() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cpu_quotas() -> list[float]:
    """The CPUs that each control group of this process allows, by version 2 and 1 of Linux's interface."""
    quotas = []
    for text in _cgroup_files("cpu", "cpu.max", ""):
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            quotas.append(int(quota) / int(period))
    both = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    for quota, period in zip(*(_cgroup_files("cpu", "", name) for name in both), strict=False):
        if quota.isdigit() and period.isdigit() and int(period):
            quotas.append(int(quota) / int(period))
    return [quota for quota in quotas if quota > 0]


def cpu_quota() -> float | None:
    """The CPUs that the control groups of this process allow together: the least of `cpu_quotas`; None for no limit."""
    return min(cpu_quotas(), default=None)


CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
"""The control groups of this process, a line `number:controllers:path` for each hierarchy."""


def _cgroup_files(controller: str, of_version_2: str, of_version_1: str) -> list[str]:
    """The contents of a file in each control group of this process, from its own up to the root.

    Every group above limits, too. A container may see its own group at the root although the path says otherwise.
    """
    try:
        lines = OWN_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = ["0::/"]
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller in controllers.split(",") and of_version_1:
            roots, name = [CGROUPS / controller, CGROUPS / controllers], of_version_1
        elif not controllers and of_version_2:
            roots, name = [CGROUPS, CGROUPS / "unified"], of_version_2
        else:
            continue
        root = next((root for root in roots if root.is_dir()), CGROUPS)
        inside = PurePosixPath(path.lstrip("/"))
        for folder in (inside, *inside.parents):
            with suppress(OSError):
                found.append((root / folder / name).read_text(encoding="utf-8").strip())
    return found


def per_gpu(share: float) -> int:
    """How many processes with this share fit on one GPU, as Ray counts them: 0.2 fits five times."""
    return math.floor(1 / share + 1e-9)


def encoder_precision(device: str, capability: tuple[int, int] | None = None) -> tuple[str, str]:
    """Chooses the precision of the encoder on a device: its fast format.

    On GPUs that is float16 rather than bfloat16: it is as fast, it rounds eight times finer, and GPUs have it from
    Volta on, bfloat16 only from Ampere on.

    Args:
        device: "cuda", "mps" or "cpu".
        capability: the lowest compute capability of the GPUs that will encode; None if it is not known, as of nodes
            that have yet to join.

    Returns:
        "float16", "bfloat16" or "float32", and the reason for it in a few words.
    """
    if device == "cuda":
        if capability is not None and capability < FAST_FLOAT16:
            major, minor = capability
            return "float32", f"a GPU of compute capability {major}.{minor} has no fast float16"
        return "float16", "the GPU's fast format"
    if device != "cpu":
        return "float32", "nothing shorter has been tried on this device"
    if cpu_has_bfloat16():
        return "bfloat16", "this CPU has it; --precision float32 is exact and takes twice as long"
    return "float32", "this CPU has no bfloat16"


@cache
def cpu_has_bfloat16() -> bool:
    """Whether this machine's CPU multiplies bfloat16 natively (AVX-512 BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


MEMORY_SIGNS = (
    "can't allocate memory",
    "out of memory",  # also of the CUDA context, of a graph's instantiation and of NCCL
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # what cuBLAS says when there is no room for its handle
    "CUDNN_STATUS_ALLOC_FAILED",
    "Failed to CUDA calloc",  # NCCL
)


def says_memory_is_short(text: str) -> bool:
    """Whether the text of an error of PyTorch or of a library of NVIDIA's says that memory was short."""
    return any(sign in text for sign in MEMORY_SIGNS)
