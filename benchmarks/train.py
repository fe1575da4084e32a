"""How fast LatentViT trains: the guide's way, a plain loop, ours, and the floor, in turn in one run on the same data.

(a) guide: a `.pt` file per sample, a DataLoader with 2 workers, float32, a second forward pass a step for the training
    accuracy, `.item()` in each step.
(b) plain: a float32 loop on tensors in memory, eager, without the second pass.
(c) ours: `fervit.training.Trainer`, its defaults.
(d) floor: the arithmetic, 6 x parameters x 19 tokens a sample, at the rate of the model's largest matrix product in the
    precision that ours uses.

(a) and (b) are PyTorch's own layers and AdamW. A turn is `--steps` steps after two that warm up, validation left out.

    python benchmarks/train.py --latents LATENTS       # made by ../shared/tools/make_w_plus.py --scale 0.2
    python benchmarks/train.py --latents LATENTS --accuracy 5   # validation accuracy of (b) and (c), five seeds each
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fervit.cli import Parser, positive_int, run
from fervit.latents import LatentSet
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents, epoch_batches
from fervit.training.metrics import metrics_of_counts
from fervit.training.trainer import Trainer

SAMPLES = 5000
WARM_UP = 2


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--latents", required=True, help="folder with train/ and val/")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where the model trains")
    parser.add_argument("--depths", type=positive_int, nargs="+", default=[6, 2], help="encoder layers to measure with")
    parser.add_argument("--steps", type=positive_int, default=10, help="steps of 64 samples that are timed in a turn")
    parser.add_argument("--rounds", type=positive_int, default=3, help="turns of each")
    parser.add_argument("--accuracy", type=positive_int, metavar="SEEDS", help="compare validation accuracy instead")
    parser.add_argument("--epochs", type=positive_int, default=3, help="of each training of --accuracy")
    args = parser.parse()
    train, val = (DeviceLatents(LatentSet.read(f"{args.latents}/{split}"), args.device) for split in ("train", "val"))
    device = torch.device(args.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} CPUs"
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {min(SAMPLES, len(train))} samples")
    if args.accuracy:
        compare_accuracy(train, val, range(args.accuracy), args.epochs)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_files(train, Path(folder))
        for depth in args.depths:
            measure(depth, train, val, Path(folder), args.steps, args.rounds)
    if device.type == "cuda":
        trainer = Trainer(TrainConfig(), train, val)
        trainer.run_epoch()
        result = trainer.run_epoch()
        print(f"an epoch of {len(train):,} samples, validation included: {result.seconds:.2f} s")


class GuideViT(nn.Module):
    """LatentViT of PyTorch's own encoder layers, as in the training guide of the original LatentViT scripts."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        self.pos_emb = nn.Parameter(torch.randn(1, config.seq_len + 1, config.embed_dim) * 0.02)
        self.input_proj = nn.Linear(config.latent_dim, config.embed_dim)
        layer = nn.TransformerEncoderLayer(
            config.embed_dim, config.heads, config.mlp_dim, config.dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, config.depth, enable_nested_tensor=False)
        self.mlp_head = nn.Sequential(nn.LayerNorm(config.embed_dim), nn.Linear(config.embed_dim, 7))

    def forward(self, codes: Tensor) -> Tensor:
        tokens = torch.cat([self.cls_token.expand(len(codes), -1, -1), self.input_proj(codes)], dim=1) + self.pos_emb
        logits: Tensor = self.mlp_head(self.transformer(tokens)[:, 0])
        return logits


class FilePerSample(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n = folder, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        sample = torch.load(self.folder / f"{i}.pt")
        return sample["latent"], sample["label"]


def write_files(train: DeviceLatents, folder: Path) -> None:
    for i in range(min(SAMPLES, len(train))):
        codes, labels = train.batch(torch.tensor([i], device=train.device))
        torch.save({"latent": codes[0].cpu().clone(), "label": labels[0].cpu().clone()}, folder / f"{i}.pt")


def guide_steps(config: TrainConfig, folder: Path, n: int, device: torch.device) -> Iterator[None]:
    """Yields after each training step of (a)."""
    model = GuideViT(config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    loss_sum = hits = 0.0
    while True:
        for codes, labels in DataLoader(FilePerSample(folder, n), config.batch_size, shuffle=True, num_workers=2):
            codes, labels = codes.to(device), labels.to(device)
            model.train()
            loss = F.cross_entropy(model(codes), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            with torch.no_grad():
                hits += (model(codes).argmax(dim=1) == labels).sum().item()
            yield


def plain_steps(config: TrainConfig, train: DeviceLatents, n: int, model: nn.Module | None = None) -> Iterator[None]:
    """Yields after each training step of (b)."""
    model = (GuideViT(config) if model is None else model).to(train.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    codes = train.codes[:n].to(train.device).float()
    while True:
        for rows in torch.randperm(n, device=train.device).split(config.batch_size):
            model.train()
            loss = F.cross_entropy(model(codes[rows]), train.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def our_steps(config: TrainConfig, train: DeviceLatents, val: DeviceLatents, n: int) -> Iterator[None]:
    """Yields after each training step of (c)."""
    trainer = Trainer(config, train, val)
    trainer.model.train()
    rows = torch.arange(n, device=train.device)
    weights = torch.ones(n, device=train.device)
    epoch = 0
    while True:
        epoch += 1
        for batch in epoch_batches(config, epoch, rows, weights, trainer.ranks):
            trainer.step(batch)
            yield


def measure(depth: int, train: DeviceLatents, val: DeviceLatents, folder: Path, steps: int, rounds: int) -> None:
    config = TrainConfig(depth=depth)
    n, device = min(SAMPLES, len(train)), train.device
    trainer = Trainer(config, train, val)
    parameters = sum(weight.numel() for weight in trainer.model.parameters())
    flop = 6 * parameters * (config.seq_len + 1)
    ways: dict[str, Callable[[], Iterator[None]]] = {
        "(a) guide": lambda: guide_steps(config, folder, n, device),
        "(b) plain": lambda: plain_steps(config, train, n),
        "(c) ours": lambda: our_steps(config, train, val, n),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    floors = []
    for _ in range(rounds):
        for name, steps_of in ways.items():
            rates[name].append(steps * config.batch_size / seconds(steps_of(), steps, device))
        floors.append(matrix_rate(config, trainer.dtype, device) / flop)
    best, floor = {name: max(values) for name, values in rates.items()}, max(floors)
    print(f"depth {depth}: {parameters / 1e6:.1f} M parameters, {flop / 1e9:.2f} GFLOP a sample")
    for name, rate in best.items():
        median = statistics.median(rates[name])
        print(
            f"  {name:<10} {rate:8.0f} samples/s (median {median:.0f})  {rate / best['(a) guide']:5.2f} x (a)  "
            f"{rate * flop / 1e9:6.0f} GFLOP/s  {rate / floor:4.0%} of (d)"
        )
    print(f"  (d) floor  {floor:8.0f} samples/s, {floor * flop / 1e9:.0f} GFLOP/s in {trainer.dtype}")


def seconds(steps: Iterator[None], n: int, device: torch.device) -> float:
    """Measures the seconds of n steps, after a few that warm up (a captured graph needs four)."""
    for _ in islice(steps, WARM_UP if device.type == "cpu" else 10):
        pass
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in islice(steps, n):
        pass
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def matrix_rate(config: TrainConfig, dtype: torch.dtype, device: torch.device) -> float:
    """Measures the FLOP/s of the largest matrix product of a step, and returns the best of several measurements."""
    tokens = config.batch_size * (config.seq_len + 1)
    a = torch.randn(tokens, config.embed_dim, device=device).to(dtype)
    b = torch.randn(config.embed_dim, config.mlp_dim, device=device).to(dtype)
    repeats, best = 20, float("inf")
    for _ in range(10):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(repeats):
            torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - started) / repeats)
    return 2 * tokens * config.embed_dim * config.mlp_dim / best


def compare_accuracy(train: DeviceLatents, val: DeviceLatents, seeds: range, epochs: int) -> None:
    """Prints the best validation accuracy and macro-F1 of (b), which trains as (a) does, and of (c)."""
    scores: dict[str, list[tuple[float, float]]] = {"(b) plain": [], "(c) ours": []}
    for seed in seeds:
        config = TrainConfig(depth=2, epochs=epochs, seed=seed, scheduler="none")
        torch.manual_seed(seed)
        model = GuideViT(config)
        n, plain = len(train), []
        steps = plain_steps(config, train, n, model)
        for _ in range(epochs):
            for _ in islice(steps, -(-n // config.batch_size)):
                pass
            plain.append(validate(model.eval(), val))
        scores["(b) plain"].append(max(plain))
        trainer, ours = Trainer(config, train, val), []
        while not trainer.finished:
            result = trainer.run_epoch()
            ours.append((result.accuracy, result.f1_macro))
        scores["(c) ours"].append(max(ours))
        print(f"seed {seed}: " + ", ".join(f"{name} {rows[-1][0]:.4f}" for name, rows in scores.items()), flush=True)
    for name, rows in scores.items():
        means = [statistics.mean(column) for column in zip(*rows, strict=True)]
        spread = [statistics.stdev(column) if len(column) > 1 else 0.0 for column in zip(*rows, strict=True)]
        print(f"{name}: accuracy {means[0]:.4f} (sd {spread[0]:.4f}), macro-F1 {means[1]:.4f} (sd {spread[1]:.4f})")


@torch.inference_mode()
def validate(model: nn.Module, val: DeviceLatents) -> tuple[float, float]:
    counts = torch.zeros(49, dtype=torch.int64, device=val.device)
    for rows in torch.arange(len(val), device=val.device).split(512):
        codes, labels = val.batch(rows)
        counts += torch.bincount(labels * 7 + model(codes).argmax(dim=1), minlength=49)
    metrics = metrics_of_counts(counts.view(7, 7).cpu().numpy())
    return metrics["accuracy"], metrics["f1_macro"]


if __name__ == "__main__":
    run(main)
