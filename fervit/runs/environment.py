"""Describes the environment of a result: versions, hardware, data, and the state of fervit's source."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from fervit.cluster.nodes import Cluster
from fervit.io.files import JsonObject
from fervit.io.storage import absolute
from fervit.latents import LatentSet
from fervit.system.hardware import usable_cpus

PACKAGES = ("fervit", "ray", "torch", "torchvision", "optuna", "numpy", "pyarrow", "pillow", "scikit-learn")


def describe() -> JsonObject:
    """Returns the versions of Python and of packages, the machine, the git commit of fervit, and the command line."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "usable_cpus": usable_cpus(),
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
    """Returns the commit of fervit's code, and whether it has uncommitted changes; None for an installed fervit.

    An environment often lies in the folder of another project, whose commit says nothing about fervit.
    """
    here = Path(__file__).resolve().parent

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *args], capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        return {
            "commit": git("ls-files", "--error-unmatch", Path(__file__).name) and git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def environment(
    cluster: Cluster, seed: int, train: LatentSet, val: LatentSet, fingerprints: dict[str, str]
) -> JsonObject:
    """Returns the content of environment.json for a run or a sweep.

    Args:
        cluster: the cluster, or this machine.
        seed: the seed of the run or the sweep.
        train: the training split.
        val: the validation split.
        fingerprints: the fingerprints of "train" and "val".
    """
    return {
        **describe(),
        "cluster": {"nodes": len(cluster.there), "cpus": cluster.cpus, "gpus": cluster.gpus},
        "seed": seed,
        "encoder": train.encoder.to_json(),
        "classes": list(train.label_set.classes),
        "data": {
            name: {"path": absolute(split.path), "rows": len(split), "sha256": fingerprints[name]}
            for name, split in (("train", train), ("val", val))
        },
    }
