"""Starts the jobs as users start them, and makes what they read."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from benchmarks.acceptance.data import random_latents

ROOT = Path(__file__).resolve().parent.parent.parent


def launch(
    name: str, folder: Path, *args: object, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a script of launch/ in a folder, with further variables, and returns its status and output."""
    command = [sys.executable, str(ROOT / "launch" / f"{name}.py"), *map(str, args)]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ | (variables or {})
    )
    print(f"$ {' '.join(command[1:])}\n{ended.stdout}{ended.stderr}status {ended.returncode}", flush=True)
    return ended


def kill_tree(pid: int) -> None:
    """Kills a process and all that it has started, also what has a session of its own, such as Ray."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                one.kill()


def last_line(ended: subprocess.CompletedProcess[str]) -> str:
    """Returns the last line that a command wrote to its standard error."""
    return last_of(ended.stderr)


def last_of(text: str) -> str:
    """Returns the last line of what a command has printed."""
    return (text.strip().splitlines() or ["no message"])[-1][:200]


def draw_faces(folder: Path, train: int, val: int) -> Path:
    """Draws so many faces of each class."""
    ended = launch(
        "demo_faces", folder, "--output_dir", folder / "faces", "--train", train, "--val", val, "--test", 1
    )  # fmt: skip
    assert ended.returncode == 0, last_line(ended)
    return folder / "faces"


def write_latents(folder: Path, rows: int) -> Path:
    from fervit.latents.schema import schema, table

    for split, (n, seed) in {
        "train": (rows, 0),
        "val": (max(70, rows // 8), 1),
        "test": (max(70, rows // 8), 2),
    }.items():
        latents = random_latents(n, seed)
        part = table(latents.image_ids, latents.labels, latents.sha256, latents.codes, schema(latents.encoder))
        (folder / split).mkdir(parents=True)
        pq.write_table(part, folder / split / "part-00000.parquet", compression="none")
    return folder
