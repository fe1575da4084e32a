"""Chooses the device for computing and the precision of the encoder on it."""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path

FORCED_DEVICE = "FERVIT_DEVICE"
"""The environment variable that names the device of all arithmetic, whatever Ray reserves. The tests set it to `cpu`
together with GPUs that Ray counts but that do not exist (RAY_OVERRIDE_RESOURCES)."""

FAST_FLOAT16 = (7, 0)
"""The first compute capability with fast float16: that of the V100, before the T4 (7.5) and the A100 (8.0)."""


def device_of(gpus: float) -> str:
    """The device of a process that has reserved some GPUs, or a share of one: "cuda", or "cpu" for 0."""
    return os.environ.get(FORCED_DEVICE) or ("cuda" if gpus else "cpu")


def usable_cpus() -> int:
    """The CPUs that this process may use: those of its affinity mask, or fewer where its container has a quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cpus, int(cpu_quota() or cpus)))


def cpu_quota() -> float | None:
    """CPUs that the control group of a container allows, by version 2 or 1 of Linux's interface; None for no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    return float(quota) / float(period) if quota.strip().isdigit() else None


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
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)
