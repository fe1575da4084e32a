"""How long `launch/train.py` takes from the command to its first step, beside a plain PyTorch script.

The script imports torch, reads the same Parquet files with pyarrow, builds the same model and takes one step; it
checks nothing, keeps nothing and can go on with nothing. The floor is the import of torch alone, which both need. The
three are measured in turn, some rounds in one run, each from the start of its process to its first step.

    python benchmarks/start.py --latents LATENTS

With `--address local` the same training starts a Ray of its own first and runs on Ray Train.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
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
    rounds = []
    for i in range(args.rounds + 1):
        seconds = (_train(latents, args.address), _script(PLAIN, latents), _script(FLOOR))
        if i:  # the first round brings files into memory
            rounds.append(seconds)
            print("  ".join(f"{each:6.2f} s" for each in seconds))
    train, plain, floor = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"to the first step, medians of {args.rounds}: launch/train.py {train:.2f} s, plain script {plain:.2f} s")
    print(f"ratio {statistics.median(one / two for one, two, _ in rounds):.2f} (goal: at most 2, and 8 s)")
    print(f"floor, torch's import: {floor:.2f} s")


def _script(code: str, *args: str) -> float:
    started = time.time()
    done = subprocess.run([sys.executable, "-c", code, *args], env=_environment(), capture_output=True, check=True)
    return float(done.stdout) - started


def _train(latents: str, address: str | None) -> float:
    """Seconds until the first step of a training, which is then ended."""
    command = [sys.executable, str(ROOT / "launch" / "train.py"), "--epochs", "1"]
    command += ["--latent_train_dir", f"{latents}/train", "--latent_val_dir", f"{latents}/val"]
    command += ["--address", address] if address else []
    with tempfile.TemporaryDirectory() as where:
        started = time.time()
        process = subprocess.Popen(command, cwd=where, env=_environment(), stdout=subprocess.DEVNULL)
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
