"""What a result depends on beside its configuration: versions, hardware, the state of the source."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from fervit.cluster.nodes import Cluster
from fervit.files import JsonObject
from fervit.latents import LatentSet
from fervit.storage import absolute

PACKAGES = ("fervit", "ray", "torch", "torchvision", "optuna", "numpy", "pyarrow", "pillow", "scikit-learn")


def describe() -> JsonObject:
    """For `environment.json`: Python, packages, machine, git commit of fervit's source, command line."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "processor": _processor(),
        "git": _git(),
        "command": sys.argv,
        "directory": str(Path.cwd()),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _git() -> JsonObject | None:
    """The commit of the checkout that fervit runs from and whether it has changes; None outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *args], capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def environment(
    cluster: Cluster, seed: int, train: LatentSet, val: LatentSet, fingerprints: dict[str, str]
) -> JsonObject:
    """What environment.json says of a run or a sweep; `fingerprints` are those of train and val."""
    return {
        **describe(),
        "cluster": {"nodes": len(cluster.there), "cpus": cluster.cpus, "gpus": cluster.gpus},
        "seed": seed,
        "encoder": train.encoder.to_json(),
        "data": {
            name: {"path": absolute(split.path), "rows": len(split), "sha256": fingerprints[name]}
            for name, split in (("train", train), ("val", val))
        },
    }
