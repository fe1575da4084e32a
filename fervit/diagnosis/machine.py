"""Examines the versions, the CPUs, the memory and the GPUs of this machine."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fervit.cluster.gpus import GIB, HIDDEN, GpuFacts, find_driver, needed_driver, nvidia_smi, problem_of
from fervit.diagnosis.finding import Finding
from fervit.runs.environment import describe
from fervit.system.hardware import FORCED_DEVICE, cpu_has_bfloat16, cpu_quota, memory_limit, usable_cpus

LITTLE_MEMORY = 2 * GIB
"""Free memory below which a full-size encoder does not load."""
LITTLE_SHARED_MEMORY = GIB // 2
LOOK = "import json; from fervit.cluster.gpus import look_here; print(json.dumps(look_here().to_json()))"
LOOK_S = 300
"""The seconds within which torch must answer about the GPU."""


def examine_machine() -> Iterator[Finding]:
    """Examines this machine, and yields what it finds."""
    yield _versions()
    yield _cpus()
    yield _memory()
    shared = _shared_memory()
    if shared is not None:
        yield shared
    yield examine_gpu()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Finding(
        topic="open files",
        text=f"{soft} at most",
        problem="Ray's processes open more than that; `ulimit -n 65536` first" if soft < 1024 else "",
    )


def _versions() -> Finding:
    found = describe()
    packages = ", ".join(f"{name} {found['packages'][name]}" for name in ("torch", "ray", "numpy", "pyarrow"))
    git = found["git"]
    commit = f" ({git['commit'][:10]}{', changed' if git['changed'] else ''})" if git else ""
    return Finding(
        topic="versions",
        text=f"fervit {found['packages']['fervit']}{commit}, Python {found['python']}, {packages}; {found['platform']}",
    )


def _cpus() -> Finding:
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = cpu_quota()
    limits = f"{os.cpu_count()} there, affinity {affinity}, cgroup {f'{quota:g}' if quota else 'without a limit'}"
    bfloat16 = "with" if cpu_has_bfloat16() else "without"
    name = describe()["processor"] or "unknown"
    return Finding(topic="CPUs", text=f"{usable_cpus()} usable ({limits}); {name}, {bfloat16} bfloat16")


def _memory() -> Finding:
    total, free = _memory_of_machine()
    limit = memory_limit()
    used = _first_number("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
    text = f"{total / GIB:.1f} GiB, {free / GIB:.1f} free"
    if limit is not None:
        text += f"; this process may use {limit / GIB:.1f}"
        free = min(free, limit - (used or 0))
    little = f"{free / GIB:.1f} GiB are free, and an encoder of full size takes 2; end other programs"
    return Finding(topic="memory", text=text, problem=little if free < LITTLE_MEMORY else "")


def _memory_of_machine() -> tuple[int, int]:
    """The bytes of memory of this machine, and those that programs can still get."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # macOS, which does not tell
        return total, total
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), total)
    return total, free


def _first_number(*paths: str) -> int | None:
    """The number in the first of some files that holds one; None if none does."""
    for path in paths:
        try:
            return int(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return None


def _shared_memory() -> Finding | None:
    """/dev/shm, where Ray keeps its objects; None on systems without it."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return None
    usage = shutil.disk_usage(folder)
    text = f"/dev/shm: {usage.total / GIB:.1f} GiB, {usage.free / GIB:.1f} free"
    if not os.access(folder, os.W_OK):
        return Finding(topic="shared memory", text=text, problem="cannot be written to; Ray keeps its objects there")
    if usage.free < LITTLE_SHARED_MEMORY:
        text += "; Ray goes to the slower disk instead (docker run --shm-size=4g gives a container more)"
    return Finding(topic="shared memory", text=text)


def examine_gpu() -> Finding:
    """Looks at the first GPU of this machine in a process of its own, so that a driver ends no more than that."""
    driver, installed = find_driver()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    forced = os.environ.get(FORCED_DEVICE)
    notes = "".join(
        [
            f"; CUDA_VISIBLE_DEVICES={visible}" if visible is not None else "",
            f"; {FORCED_DEVICE}={forced}" if forced else "",
        ]
    )
    try:
        done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=LOOK_S, check=False)
    except subprocess.TimeoutExpired:
        problem = f"torch has not answered for {LOOK_S:.0f} s; see `nvidia-smi`, or restart the machine"
        return Finding(topic="GPUs", text=f"{installed}{notes}", problem=problem)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return Finding(topic="GPUs", text=f"{installed}{notes}", problem=f"torch ended while it looked ({last})")
    facts = GpuFacts.from_json(json.loads(done.stdout.splitlines()[-1]))
    wheel = f"torch {facts.torch} needs driver {needed_driver(facts.cuda)} or newer" if facts.cuda else "torch for CPUs"
    if facts.available:
        count = f"{installed} GPU{'s' if installed != 1 else ''}, the first: " if installed else ""
        return Finding(topic="GPUs", text=f"{count}{facts}{notes}", problem=problem_of(facts))
    mismatch = next((line for line in nvidia_smi().splitlines() if "Failed" in line or "NVIDIA-SMI has" in line), "")
    if mismatch:
        problem = f"nvidia-smi: {mismatch.strip()}; restart the machine"
        return Finding(topic="GPUs", text=f"none to be used{notes}", problem=problem)
    if not driver or not installed:
        return Finding(topic="GPUs", text=f"none with NVIDIA's driver, so the CPU computes ({wheel}){notes}")
    if visible is not None and not [name for name in visible.split(",") if name not in HIDDEN]:
        return Finding(topic="GPUs", text=f"{installed}, hidden, so the CPU computes{notes}")
    return Finding(topic="GPUs", text=f"{installed}, driver {driver}{notes}", problem=problem_of(facts))
