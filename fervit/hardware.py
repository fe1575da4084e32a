"""Chooses the device for computing, and finds out whether the CPU has bfloat16."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

FORCED_DEVICE = "FERVIT_DEVICE"
"""The environment variable that names the device of all arithmetic, whatever Ray reserves. The tests set it to `cpu`
together with GPUs that Ray counts but that do not exist (RAY_OVERRIDE_RESOURCES)."""


def device_of(gpus: float) -> str:
    """The device of a process that has reserved some GPUs, or a share of one: "cuda", or "cpu" for 0."""
    return os.environ.get(FORCED_DEVICE) or ("cuda" if gpus else "cpu")


@cache
def cpu_has_bfloat16() -> bool:
    """Whether this machine's CPU multiplies bfloat16 natively (AVX-512 BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)
