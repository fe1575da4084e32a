"""What looks at GPUs would find, on machines that are not here."""

from __future__ import annotations

from dataclasses import replace

from fervit.cluster.gpus import GIB, GpuFacts

WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
"""The architectures of the pinned wheel of torch."""
A100 = GpuFacts(
    torch="2.15.0+cu132",
    cuda="13.2",
    architectures=WHEEL,
    driver="580.65.06",
    installed=1,
    visible="0",
    available=True,
    name="NVIDIA A100-SXM4-80GB",
    capability=(8, 0),
    memory=80 * GIB,
)
T4 = replace(A100, name="Tesla T4", capability=(7, 5), memory=15 * GIB)
V100 = replace(A100, name="Tesla V100-SXM2-16GB", capability=(7, 0), memory=16 * GIB)
UNSEEN = replace(A100, available=False, name="", capability=(0, 0), memory=0, error="No CUDA GPUs are available")
"""A GPU that the driver has and torch does not see."""
