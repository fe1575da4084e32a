"""What a training step takes by how PyTorch's threads wait, on free cores and beside a process that computes.

A LatentViT of 96 x 2 on batches of 32 codes [18, 512], with a thread for each core. Compared with: GNU's OpenMP library
as it comes (300,000 turns of waiting before a thread gives up its core), and one that gives it up at once
(OMP_WAIT_POLICY=passive). The floor is the fastest of the three where cores are free.

    python -m benchmarks.threads [--rounds 2]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from fervit.cli import Parser, positive_int, run
from fervit.system.hardware import usable_cpus
from fervit.threads import TURNS

WAYS = {
    "the library's own": {"GOMP_SPINCOUNT": "300000"},
    "fervit's": {"GOMP_SPINCOUNT": TURNS},
    "at once": {"OMP_WAIT_POLICY": "passive"},
}
SECONDS = 8.0


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=positive_int, default=2, help="in which all are measured in turn")
    parser.add_argument("--measure", action="store_true", help="what the processes of this command do")
    args = parser.parse()
    if args.measure:
        measure()
        return
    for beside in (False, True):
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if beside else None
        try:
            found: dict[str, list[float]] = {name: [] for name in WAYS}
            for _ in range(args.rounds):
                for name, way in WAYS.items():
                    found[name].append(of(way))
        finally:
            if busy is not None:
                busy.kill()
                busy.wait()
        print("beside one process that computes:" if beside else f"{usable_cpus()} free cores:")
        for name, times in found.items():
            ours = statistics.median(found["fervit's"])
            step = statistics.median(times)
            print(f"  {name:<18} {1e3 * step:8.1f} ms a step, {step / ours:5.2f} of fervit's", flush=True)


def of(way: dict[str, str]) -> float:
    """Returns the seconds of a step, measured in a process of its own."""
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    command = [sys.executable, "-m", "benchmarks.threads", "--measure"]
    done = subprocess.run(command, env={**clean, **way}, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure() -> None:
    """Prints the median seconds of a step."""
    import torch

    from fervit.model.latent_vit import LatentViT
    from fervit.training.config import TrainConfig

    torch.set_num_threads(usable_cpus())
    config = TrainConfig(embed_dim=96, depth=2, heads=4, mlp_dim=192)
    model = LatentViT(**config.model(), num_classes=7)
    optimizer = torch.optim.AdamW(model.parameters())
    codes, labels = torch.randn(32, 18, 512), torch.randint(0, 7, (32,))
    times: list[float] = []
    until = time.monotonic() + SECONDS
    while time.monotonic() < until or len(times) < 4:
        began = time.monotonic()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(codes), labels).backward()
        optimizer.step()
        times.append(time.monotonic() - began)
    print(statistics.median(times[2:]))


if __name__ == "__main__":
    run(main)
