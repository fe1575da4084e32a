"""The jobs as users start them, on Ray."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.acceptance.check import Found, check, goal, passed
from benchmarks.acceptance.data import random_latents

ROOT = Path(__file__).resolve().parent.parent.parent


def launch(name: str, folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """Runs a script of launch/ in a folder, and returns its status and output."""
    command = [sys.executable, str(ROOT / "launch" / f"{name}.py"), *map(str, args)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def last_line(ended: subprocess.CompletedProcess[str]) -> str:
    """Returns the last line that a command wrote to its standard error."""
    return (ended.stderr.strip().splitlines() or ["no message"])[-1][:200]


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


@check("ray", "launch/encode.py encodes on the GPU, each face into its own split", limit_s=240)
def encoding_runs(device: str) -> Found:
    with tempfile.TemporaryDirectory() as scratch:
        faces = draw_faces(Path(scratch), *((60, 20) if device == "cuda" else (4, 2)))
        latents = Path(scratch, "latents")
        flags = () if device == "cuda" else ("--gpus_per_actor", 0)
        started = time.monotonic()
        ended = launch(
            "encode", Path(scratch), "--data_root", faces, "--latent_out", latents, "--encoder_type", "demo", *flags
        )
        if ended.returncode:
            return Found("FAIL", last_line(ended))
        wanted = {
            split: {p.relative_to(faces).as_posix() for p in (faces / split).rglob("*.png")}
            for split in ("train", "val")
        }
        found = {
            split: set(pq.read_table(latents / split, columns=["image_id"]).column("image_id").to_pylist())
            for split in wanted
        }
        right = all(len(found[split]) == len(wanted[split]) for split in wanted)
        right = right and not (found["train"] & found["val"])
        seconds = time.monotonic() - started
        return passed(
            right, f"{sum(map(len, found.values()))} faces in {seconds:.0f} s, {'right' if right else 'WRONG'} splits"
        )


@check("ray", "the encoding job reaches 90 % of the network alone", expected="77-92 %", limit_s=420)
def the_job_keeps_the_gpu_busy(device: str) -> Found:
    batch, images = (64, 16384) if device == "cuda" else (1, 6)
    if device == "cpu":
        return Found("INFO", "measured on a GPU only: benchmarks/encode.py --job has the CPU's figure")
    command = [sys.executable, str(ROOT / "benchmarks" / "encode.py"), "--device", device, "--rounds", "1"]
    command += ["--batch_size", str(batch), "--job", str(images)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    share = re.search(r"images/s: (\d+)% of the network alone", ended.stdout)
    if share is None:
        return Found("FAIL", last_line(ended))
    rate = re.search(r"last part\s+([\d.]+) images/s", ended.stdout)
    return goal(device, int(share[1]) >= 90, f"{share[1]} %, {rate[1] if rate else '?'} images/s")


@check("ray", "launch/train.py trains on the GPU", limit_s=240)
def training_runs(device: str) -> Found:
    with tempfile.TemporaryDirectory() as scratch:
        latents = write_latents(Path(scratch, "latents"), 4096 if device == "cuda" else 140)
        flags = [] if device == "cuda" else ["--no_use_gpu"]
        small = ["--embed_dim", 64, "--depth", 2, "--heads", 4, "--mlp_dim", 128, *flags]
        splits = ["--latent_train_dir", latents / "train", "--latent_val_dir", latents / "val"]
        ended = launch("train", Path(scratch), *splits, *small, "--epochs", 2)
        if ended.returncode:
            return Found("FAIL", last_line(ended))
        (run,) = Path(scratch, "experiments").iterdir()
        rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        return passed(len(rows) == 2, f"2 epochs, macro-F1 {rows[-1]['f1_macro']:.3f}")


@check(
    "ray",
    "four trials that share a GPU train twice as many epochs as one after the other",
    expected="1.1-1.3x without MPS",
    limit_s=420,
)
def sharing_a_gpu_pays(device: str) -> Found:
    seconds = {}
    with tempfile.TemporaryDirectory() as scratch:
        latents = write_latents(Path(scratch, "latents"), 8192 if device == "cuda" else 140)
        for share in (1.0, 0.25) if device == "cuda" else (0.0,):
            space = Path(scratch, "space.yaml")
            space.write_text(_space(share, epochs=6 if device == "cuda" else 1))
            folder = Path(scratch, f"share_{share}")
            folder.mkdir()
            started = time.monotonic()
            ended = launch("tune", folder, "--space", space, "--latents", latents)
            if ended.returncode:
                return Found("FAIL", last_line(ended))
            (sweep,) = (folder / "experiments").iterdir()
            seconds[share] = _training_seconds(sweep) or time.monotonic() - started
    if device == "cpu":
        return Found("INFO", f"a sweep of 8 trials on the CPU in {seconds[0.0]:.0f} s")
    gain = seconds[1.0] / seconds[0.25]
    return passed(
        gain >= 2, f"{gain:.2f}x: {seconds[1.0]:.0f} s one after the other, {seconds[0.25]:.0f} s four at once"
    )


def _space(share: float, epochs: int) -> str:
    return f"""
name: acceptance
metric: {{name: f1_macro, goal: maximize}}
search: {{sampler: random, trials: 8, seed: 1}}
early_stopping: {{scheduler: none, max_epochs: {epochs}, grace_epochs: 1}}
parameters:
  lr: {{distribution: log_uniform, min: 1.0e-4, max: 1.0e-3}}
fixed: {{embed_dim: 256, depth: 4, heads: 8, mlp_dim: 512}}
trial: {{cpus: 1, gpus: {share:g}}}
"""


def _training_seconds(sweep: Path) -> float:
    """Returns the seconds from the first to the last epoch of a sweep."""
    events = [json.loads(line) for line in (sweep / "trials.jsonl").read_text().splitlines()]
    times = [event["time"] for event in events if event["event"] == "epoch"]
    return float(max(times) - min(times))


@check("ray", "what cannot be placed is refused in one line", limit_s=240)
def refusals_are_one_line(device: str) -> Found:
    with tempfile.TemporaryDirectory() as scratch:
        faces = draw_faces(Path(scratch), 1, 1)
        args = ["--data_root", faces, "--latent_out", Path(scratch, "out"), "--encoder_type", "demo"]
        ended = launch("encode", Path(scratch), *args, "--gpus_per_actor", 64)
        lines = ended.stderr.strip().splitlines()
        return passed(
            ended.returncode == 2 and len(lines) == 1, f"status {ended.returncode}: {lines[-1][:140] if lines else ''}"
        )
