"""What the hardware is good at, and what is computed on."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

FORCED_DEVICE = "FERVIT_DEVICE"
"""Environment variable that names the device of all arithmetic, whatever Ray places: `cpu` with GPUs that Ray only
counts (RAY_OVERRIDE_RESOURCES), as the tests have it."""


def device_of(gpus: float) -> str:
    """ "cuda" for what holds a GPU or a share of one, else "cpu"."""
    return os.environ.get(FORCED_DEVICE) or ("cuda" if gpus else "cpu")


@cache
def cpu_has_bfloat16() -> bool:
    """Whether this machine's CPU multiplies bfloat16 natively (AVX-512 BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)
