"""How fast pictures become codes: the network alone, and the job around it.

Network: fervit's fast form in float32, bfloat16 and, on a GPU, float16 against the plain form (float32, eager,
contiguous, each layer as in the papers) with the same weights, in turn in one run. The floor is the arithmetic, 145
GFLOP an image, at the rate of a large matrix product on the same machine.

Job (`--job N`): `launch/encode.py`'s job on one actor, N pictures of 256 x 256, from its first part file to its last,
against the network alone before and after it.

    python benchmarks/encode.py [--batch_size 4] [--rounds 7] [--device cuda] [--job 128]
"""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn

from fervit.cli import Parser, positive_int, run
from fervit.encoders.fast.fuse import fuse
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.encoders.psp import GradualStyleEncoder
from fervit.encoders.registry import PRECISIONS, Encoder
from fervit.encoders.runner import EncoderRunner
from fervit.labels.emotions import EMOTIONS

GFLOP_AN_IMAGE = 144.96
"""The GFLOP of the convolutions and linear layers of the plain form, at 18 styles (by torch.utils.flop_counter)."""
PRECISIONS_OF = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "bfloat16", "float16")}
T = TypeVar("T")


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where the network runs")
    parser.add_argument("--batch_size", type=positive_int, default=4, help="images that go through it at once")
    parser.add_argument("--rounds", type=positive_int, default=7, help="times that each form runs, in turn")
    parser.add_argument("--job", type=positive_int, metavar="N", help="measure the whole job with N images, too")
    parser.add_argument("--only_job", action="store_true", help="do not measure the forms of the network")
    args = parser.parse()
    torch.manual_seed(0)
    plain = random_network()
    if not args.only_job:
        measure_forms(plain, args.device, args.batch_size, args.rounds)
    if args.job:
        measure_job(plain, args.batch_size, args.job)


def measure_forms(plain: GradualStyleEncoder, device: str, batch_size: int, rounds: int) -> None:
    if device == "cuda":
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
        for size in sorted({batch_size, 4, 16, 64, 128, 256}):
            measure_network(plain, size, rounds, "cuda")
    else:
        print(f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads, torch {torch.__version__}")
        measure_network(plain, batch_size, rounds, "cpu")


def random_network() -> GradualStyleEncoder:
    """Makes a network of full size. Its random weights keep activations in range and do not change its speed."""
    network = GradualStyleEncoder().eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(1.5)  # type: ignore[union-attr]
    return network


def encoder_of(plain: GradualStyleEncoder, precision: str, device: str) -> Encoder:
    fingerprint = EncoderFingerprint(
        encoder="psp", checkpoint_sha256="", seq_len=18, latent_dim=512, size=256, precision=precision
    )
    network = fuse(copy.deepcopy(plain), PRECISIONS[precision])
    return Encoder(network, torch.zeros(18, 512), fingerprint).to(device)


def measure_network(plain: GradualStyleEncoder, batch_size: int, rounds: int, device: str) -> None:
    n = batch_size * (4 if device == "cpu" else max(4, 512 // batch_size))
    pixels = np.random.default_rng(0).integers(0, 256, (n, 256, 256, 3), np.uint8)
    baseline = copy.deepcopy(plain).to(device)
    forms: dict[str, Callable[[], Tensor]] = {"plain float32": lambda: in_batches(baseline, pixels, batch_size)}
    if device == "cuda":
        forms["plain, TF32 (PyTorch's default)"] = lambda: in_batches(baseline, pixels, batch_size, tf32=True)
    for precision in PRECISIONS_OF[device]:
        runner = EncoderRunner(encoder_of(plain, precision, device), batch_size)
        forms[f"ours {precision}{', captured' if runner.captured else ''}"] = lambda runner=runner: runner(pixels)  # type: ignore[misc]

    seconds: dict[str, list[float]] = {name: [] for name in forms}
    codes, peak = {}, dict.fromkeys(forms, 0.0)
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for name, form in forms.items():
                took, codes[name] = timed(form, 1, device)
                if turn:  # the first is a warm-up
                    seconds[name].append(took)
                peak[name] = max(peak[name], gemm_rate(name, device))
    base = codes["plain float32"]
    print(f"\nbatch {batch_size}, {n} images a turn: best of {rounds} turns (median)")
    for name, times in seconds.items():
        best, median = min(times), float(np.median(times))
        rate = GFLOP_AN_IMAGE * n / best
        off = float((codes[name] - base).norm() / base.norm())
        print(
            f"  {name:32} {n / best:8.2f} images/s  {min(seconds['plain float32']) / best:5.2f}x "
            f"({np.median(seconds['plain float32']) / median:.2f}x)  {rate:8.0f} GFLOP/s, "
            f"{rate / peak[name]:4.0%} of the matrix product's {peak[name]:.0f}; codes {off:.1e} off the plain form's"
        )


def in_batches(network: nn.Module, pixels: np.ndarray, batch_size: int, *, tf32: bool = False) -> Tensor:
    """Encodes one batch after the other in the usual loop, contiguous and eager."""
    device = next(network.parameters()).device
    codes = []
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=tf32):
        for start in range(0, len(pixels), batch_size):
            batch = torch.from_numpy(pixels[start : start + batch_size]).to(device)
            codes.append(network((batch.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()))
    return torch.cat(codes).cpu()


def timed(form: Callable[[], T], repeats: int, device: str) -> tuple[float, T]:
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        result = form()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / repeats, result


def gemm_rate(form: str, device: str) -> float:
    """Measures the GFLOP/s of a large square matrix product, in the number format of a form."""
    side = 2048 if device == "cpu" else 8192
    dtype = next((PRECISIONS[name] for name in ("bfloat16", "float16") if name in form), torch.float32)
    a = torch.randn(side, side, device=device).to(dtype)
    torch.backends.cuda.matmul.allow_tf32 = "TF32" in form
    best = min(timed(lambda: a @ a, 1, device)[0] for _ in range(3))
    torch.backends.cuda.matmul.allow_tf32 = False
    return float(2 * side**3 / best / 1e9)


def measure_job(plain: GradualStyleEncoder, batch_size: int, n: int) -> None:
    from fervit.cluster.connection import connect
    from fervit.encoders.registry import fingerprint_of
    from fervit.encoding.job import encode_faces
    from fervit.encoding.placement import place
    from fervit.encoding.plan import EncoderChoice, plan_encoding
    from fervit.images.index import open_faces

    with tempfile.TemporaryDirectory() as scratch:
        faces, checkpoint = Path(scratch, "faces"), str(Path(scratch, "psp.pt"))
        with ThreadPoolExecutor() as threads:
            list(threads.map(partial(draw_picture, faces), range(n)))
        weights = {f"encoder.{name}": value for name, value in plain.state_dict().items()}
        torch.save({"state_dict": weights, "latent_avg": torch.zeros(18, 512), "opts": {}}, checkpoint)
        choice = EncoderChoice(kind="psp", checkpoint=checkpoint)
        wanted = replace(fingerprint_of("psp", checkpoint), precision=None)
        plan = plan_encoding(open_faces(str(faces)), str(Path(scratch, "latents")), choice, wanted)

        with connect("local", Path(scratch, "ray.log")) as cluster:
            placement = place(plan, cluster, batch_size=batch_size)
            print(f"\njob: {n} images; {placement}", flush=True)
            network = encoder_of(plain, placement.precision, placement.device)
            alone = EncoderRunner(network, batch_size, placement.threads)
            before = bare_rate(alone)
            started = time.time()
            encode_faces(plan, placement)
            total = time.time() - started
        after = bare_rate(alone)
        parts = sorted(Path(scratch, "latents").glob("*.parquet"), key=lambda path: path.stat().st_mtime)
        written = [path.stat().st_mtime for path in parts]
        later = sum(pq.read_metadata(path).num_rows for path in parts[1:])
    steady = later / (written[-1] - written[0])
    bare = (before + after) / 2
    apart = np.diff(written)
    print(f"  network alone, in turn     {before:.3f} and {after:.3f} images/s before and after")
    print(f"  job, first to last part    {steady:.3f} images/s: {steady / bare:.0%} of the network alone")
    print(f"  parts, seconds apart       {' '.join(f'{seconds:.2f}' for seconds in apart)}")
    print(f"  job, all of it             {n / total:.3f} images/s; first part after {written[0] - started:.1f} s")


def draw_picture(faces: Path, i: int) -> None:
    """Writes a picture of 256 x 256 as smooth as a face, as JPEG of about 10 KB."""
    path = faces / EMOTIONS[i % 7] / f"{i:06d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(i).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC).save(path, quality=90)


def bare_rate(runner: EncoderRunner) -> float:
    """Measures the images/s of the network alone, on batches that are full."""
    on_gpu = runner.device.type == "cuda"
    pixels = np.random.default_rng(1).integers(0, 256, (8 * runner.batch_size if on_gpu else 32, 256, 256, 3), np.uint8)
    seconds = 5.0 if on_gpu else 20.0
    runner(pixels)
    images, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        runner(pixels)
        images += len(pixels)
    return images / (time.perf_counter() - started)


if __name__ == "__main__":
    run(main)
