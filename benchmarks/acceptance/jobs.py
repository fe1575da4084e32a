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
from benchmarks.acceptance.launching import ROOT, draw_faces, kill_tree, last_line, launch, write_latents


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
    batch, images = (64, 28672) if device == "cuda" else (1, 6)
    if device == "cpu":
        return Found("INFO", "measured on a GPU only: benchmarks/encode.py --job has the CPU's figure")
    command = [sys.executable, str(ROOT / "benchmarks" / "encode.py"), "--device", device, "--rounds", "1"]
    command += ["--batch_size", str(batch), "--job", str(images), "--only_job"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    print(ended.stdout + ended.stderr)
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


@check("ray", "the README's first command runs: faces, their codes, a sweep and its report", limit_s=300)
def the_demo_runs(device: str) -> Found:
    if device == "cpu":
        return Found("INFO", "on the CPU tests of the demo do this")
    with tempfile.TemporaryDirectory() as scratch:
        started = time.monotonic()
        faces, latents = draw_faces(Path(scratch), 60, 20), Path(scratch, "latents")
        flags = ("--data_root", faces, "--latent_out", latents, "--encoder_type", "demo", "--batch_size", 32)
        for name, args in (
            ("encode", flags),
            ("tune", ("--space", ROOT / "search_spaces" / "demo.yaml", "--latents", latents)),
        ):
            ended = launch(name, Path(scratch), *args)
            if ended.returncode:
                return Found("FAIL", f"launch/{name}.py: {last_line(ended)}")
        (sweep,) = Path(scratch, "experiments").iterdir()
        best = sweep / "best"
        ended = launch(
            "predict", Path(scratch), "--checkpoint_path", best, "--encoder_type", "demo", faces / "val" / "happy"
        )
        whole = (sweep / "report.html").exists() and ended.returncode == 0
        return passed(whole, f"in {time.monotonic() - started:.0f} s; predict: status {ended.returncode}")


@check("ray", "a training that is killed goes on on the GPU by the same command", limit_s=240)
def a_killed_training_goes_on(device: str) -> Found:
    if device == "cpu":
        return Found("INFO", "on the CPU tests of kills do this")
    with tempfile.TemporaryDirectory() as scratch:
        latents = write_latents(Path(scratch, "latents"), 8192)
        splits = ["--latent_train_dir", latents / "train", "--latent_val_dir", latents / "val"]
        command = [sys.executable, ROOT / "launch" / "train.py", *splits, "--epochs", 24]
        running = subprocess.Popen([*map(str, command)], cwd=scratch)
        run = _run_with_epochs(Path(scratch, "experiments"), 3)
        kill_tree(running.pid)
        running.wait()
        if run is None:
            return Found("FAIL", "no third epoch within two minutes")
        before = _rows(run)
        ended = launch("train", Path(scratch), *splits, "--resume", run)
        after = _rows(run)
        epochs = [row["epoch"] for row in after]
        # Eager steps take ten times as long as captured ones. The first epoch of a process holds its start.
        rates = [max(row["samples_per_second"] for row in rows) for rows in (before, after[len(before) :])]
        return passed(
            ended.returncode == 0 and epochs == list(range(1, 25)) and rates[1] > rates[0] / 2,
            f"killed after epoch {len(before)} of 24; then status {ended.returncode}, epochs 1 to {epochs[-1]}, each "
            f"once; {rates[0]:,.0f} samples/s before the kill, {rates[1]:,.0f} after it",
        )


def _rows(run: Path) -> list[dict[str, float]]:
    """The epochs of a run."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def _run_with_epochs(experiments: Path, n: int) -> Path | None:
    """Waits for the first epochs of the only run of a folder, and returns its folder."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for history in experiments.glob("*/history.jsonl"):
            if len(history.read_text().splitlines()) >= n:
                return history.parent
        time.sleep(0.1)
    return None


@check("ray", "what this GPU cannot do is refused in one line", limit_s=240)
def refusals_are_one_line(device: str) -> Found:
    texts, right = [], True
    with tempfile.TemporaryDirectory() as scratch:
        faces = draw_faces(Path(scratch), 1, 1)
        args = ["--data_root", faces, "--latent_out", Path(scratch, "out"), "--encoder_type", "demo"]
        bad: list[tuple[tuple[object, ...], dict[str, str]]] = [(("--gpus_per_actor", 64), {})]
        if device == "cuda":
            bad += [
                (("--gpus_per_actor", 1, "--batch_size", 3_000_000), {}),
                (("--gpus_per_actor", 1), {"CUDA_VISIBLE_DEVICES": "9"}),
            ]
        for flags, variables in bad:
            ended = launch("encode", Path(scratch), *args, *flags, variables=variables)
            errors = [line for line in ended.stderr.strip().splitlines() if line.startswith("error")]
            right = right and ended.returncode in (1, 2) and len(errors) == 1 and "Traceback" not in ended.stderr
            texts.append(f"status {ended.returncode}: {(errors or ['no line'])[-1][:140]}")
        return passed(right, "; ".join(texts))
