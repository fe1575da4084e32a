"""How long `launch/train.py` takes from the command to its first step, beside a plain PyTorch script.

The script imports torch, reads the same Parquet files with pyarrow, builds the same model and takes one step; it
checks nothing, keeps nothing and can go on with nothing. The floor is the import of torch alone, which both need. The
three are measured in turn, some rounds in one run, each from the start of its process to its first step. On a machine
that others use, too, trust the CPU seconds of all their processes more than the seconds.

    python benchmarks/start.py --latents LATENTS

With `--address local` the same training starts a Ray of its own first and runs on Ray Train.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOOR = "import time, torch; print(time.time())"
PLAIN = """
import sys, time
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, torch
from fervit.model import LatentViT

def read(folder):
    table = pq.read_table(folder, columns=["label", "latent"])
    chunks = [chunk.to_numpy_ndarray() for chunk in table["latent"].chunks]
    return torch.from_numpy(np.concatenate(chunks)), torch.from_numpy(table["label"].to_numpy().astype(np.int64))

(codes, labels), validation = read(sys.argv[1] + "/train"), read(sys.argv[1] + "/val")
torch.manual_seed(42)
device = "cuda" if torch.cuda.is_available() else "cpu"
model = LatentViT(seq_len=codes.shape[1], latent_dim=codes.shape[2]).to(device)  # its defaults are train.py's
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
rows = torch.randperm(len(codes))[:64]
loss = torch.nn.functional.cross_entropy(model(codes[rows].float().to(device)), labels[rows].to(device))
loss.backward()
optimizer.step()
loss.item()
print(time.time())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", required=True, help="folder with train/ and val/")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--address", help="given to launch/train.py")
    args = parser.parse_args()
    latents = str(Path(args.latents).absolute())
    contestants: dict[str, Callable[[], float]] = {
        "launch/train.py": lambda: _train(latents, args.address),
        "plain script": lambda: _script(PLAIN, latents),
        "import of torch": lambda: _script(FLOOR),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for i in range(args.rounds + 1):
        for name, run in contestants.items():
            before = _cpu_seconds()
            seconds, cpu = run(), _cpu_seconds() - before
            if i:  # the first round brings files into memory
                measured[name].append((seconds, cpu))
            print(f"{name}: {seconds:.2f} s, {cpu:.2f} s of CPU{'' if i else ' (not counted)'}", flush=True)
    print(f"\nto the first step, medians of {args.rounds}:")
    for name, rounds in measured.items():
        seconds, cpu = (statistics.median(each) for each in zip(*rounds, strict=True))
        print(f"  {name:16} {seconds:6.2f} s, {cpu:6.2f} s of CPU")
    pairs = list(zip(measured["launch/train.py"], measured["plain script"], strict=True))
    ratio, of_cpu = (statistics.median(ours[i] / plain[i] for ours, plain in pairs) for i in (0, 1))
    print(f"launch/train.py takes {ratio:.2f} times the plain script's seconds (goal: at most 2, and 8 s in all)")
    print(f"and {of_cpu:.2f} times its CPU")


def _cpu_seconds() -> float:
    """Returns the CPU seconds of all ended child processes of this process."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _script(code: str, *args: str) -> float:
    started = time.time()
    done = subprocess.run([sys.executable, "-c", code, *args], env=_environment(), capture_output=True, check=True)
    return float(done.stdout) - started


def _train(latents: str, address: str | None) -> float:
    """Starts a training, ends it after its first step, and returns the seconds until that step."""
    command = [sys.executable, str(ROOT / "launch" / "train.py"), "--epochs", "1"]
    command += ["--latent_train_dir", f"{latents}/train", "--latent_val_dir", f"{latents}/val"]
    command += ["--address", address] if address else []
    with tempfile.TemporaryDirectory() as where:
        started = time.time()
        process = subprocess.Popen(
            command, cwd=where, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while process.poll() is None:
                for events in Path(where).glob("experiments/*/.events.jsonl"):
                    for line in events.read_text().splitlines(keepends=True):
                        if line.endswith("\n") and (event := json.loads(line))["event"] == "first step":
                            return float(event["time"]) - started
                time.sleep(0.02)
        finally:
            for number in (signal.SIGINT, signal.SIGKILL):
                process.send_signal(number)
                try:
                    process.wait(20)
                    break
                except subprocess.TimeoutExpired:
                    continue
    raise SystemExit("launch/train.py ended before its first step")


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}, "PYTHONPATH": path}


if __name__ == "__main__":
    main()
