"""What a sweep costs: (a) a plain Optuna script, (b) the stock recipe of Ray Tune and Ray Train, (c) ours, in one run.

The same 24 random configurations, up to 9 epochs each, on the same 5,000 latents and 500 for validation; in each way
trials that fall behind are stopped at epochs 1, 3 and 9 unless they are among the best third.

(a) sequential: one process, all cores, float32 eager loop on tensors in memory, Optuna's SuccessiveHalvingPruner.
(b) stock: a function trainable that runs a TorchTrainer, a new process a trial, Ray Tune's ASHA; on
    4 of the configurations, scaled.
(c) ours: launch/tune.py's search, two trials at once with a core each.
The floor of (c) is the time that its slots spend in training steps; the share of wall x slots is what is measured.

    python -m benchmarks.sweep --latents LATENTS       # made by ../shared/tools/make_w_plus.py --scale 0.2
    python -m benchmarks.sweep --bookkeeping 2000      # trials that do nothing: what the driver itself costs
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.instant import run_instant
from benchmarks.train import GuideViT, validate
from fervit.cli import Parser, positive_int, run
from fervit.cluster.connection import connect
from fervit.latents import LatentSet
from fervit.search.opening import open_ledger, open_search
from fervit.search.outcome.leaderboard import write_leaderboard
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.records.events import EpochEnded, TrialEnded
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.settings import TrialResources
from fervit.search.space.space_file import parse_space
from fervit.search.workers.tuner import run_trials
from fervit.search.workers.worker_group import SharedLatents
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents

SAMPLES, VALIDATION, STOCK_TRIALS = 5000, 500, 4
SPACE: dict[str, Any] = {
    "name": "benchmark",
    "search": {"sampler": "random", "trials": 24, "seed": 5},
    "early_stopping": {"scheduler": "asha", "max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3},
    "parameters": {
        "lr": {"distribution": "log_uniform", "min": 1e-5, "max": 3e-3},
        "depth": {"values": [1, 2]},
        "heads": {"values": [4, 8]},
        "embed_dim": {"values": [128, 256]},
        "scheduler": {"values": ["cosine", "none"]},
    },
    "fixed": {"mlp_dim": 512, "batch_size": 64},
}


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--latents", help="folder with train/ and val/")
    parser.add_argument(
        "--bookkeeping", type=positive_int, metavar="TRIALS", help="measure trials that do nothing instead"
    )
    parser.add_argument("--slots", type=positive_int, default=2, help="trials at once of (c)")
    parser.add_argument(
        "--leave_out", nargs="*", choices=("sequential", "stock"), default=[], help="ways not to measure"
    )
    args = parser.parse()
    if args.bookkeeping:
        bookkeeping(args.bookkeeping)
        return
    train, val = (
        first_rows(LatentSet.read(f"{args.latents}/{s}"), n) for s, n in (("train", SAMPLES), ("val", VALIDATION))
    )
    space = parse_space(SPACE, "benchmark")
    print(
        f"{len(train)} + {len(val)} latents, {torch.get_num_threads()} threads, torch {torch.__version__}", flush=True
    )
    ours = measure_ours(space, train, val, args.slots)
    if "sequential" not in args.leave_out:
        wall, epochs = sequential(space, train, val)
        print(f"(a) sequential: {wall:.1f} s, {epochs} epochs; ours takes it {wall / ours:.2f}x faster", flush=True)
    if "stock" not in args.leave_out:
        wall = stock(space, train, val)
        whole = wall / STOCK_TRIALS * space.search.trials
        print(
            f"(b) stock: {wall:.1f} s for {STOCK_TRIALS} trials, so {whole:.0f} s for all; ours {whole / ours:.1f}x "
            "faster"
        )


def first_rows(latents: LatentSet, n: int) -> LatentSet:
    rows = slice(n)
    return replace(
        latents,
        codes=np.ascontiguousarray(latents.codes[rows]),
        labels=latents.labels[rows],
        image_ids=latents.image_ids[rows],
        sha256=latents.sha256[rows],
    )


def measure_ours(space: SearchSpace, train: LatentSet, val: LatentSet, slots: int) -> float:
    """Measures the wall seconds of (c), including the start of Ray."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, connect("local", Path(name) / "ray.log"):
        folder = Path(name)
        connected = time.perf_counter()
        files = SweepFolder(folder)
        ledger = open_ledger(space, files)
        open_search(space, files, ledger)
        run_trials(ledger, files, SharedLatents.put(train, val), TrialResources(), name="trials")
        ledger.close()
        wall = time.perf_counter() - started
        rows = [row for record in ledger.records for row in record.epochs]
        stops = [record for record in ledger.records if record.state == "stopped"]
        steps = math.fsum(len(train) / row.samples_per_second for row in rows)
        whole = math.fsum(row.seconds for row in rows)
        first = min(event.started for event in ledger.events if isinstance(event, EpochEnded))
        last = max(event.time for event in ledger.events)
        within = math.fsum(record.ended - record.started for record in ledger.records) - whole
        by_slot = {r.pid: max(o.ended for o in ledger.records if o.pid == r.pid) for r in ledger.records}
        begun = {r.pid: min(o.started for o in ledger.records if o.pid == r.pid) for r in ledger.records}
    searching = wall - (connected - started)
    print(f"(c) ours: {wall:.1f} s, {len(rows)} epochs, {len(stops)} of {len(ledger.records)} trials stopped early")
    for what, length in (
        ("all of it", wall),
        ("without Ray's start", searching),
        ("first trial to last", last - first),
    ):
        print(
            f"    {what:<20} {length:6.1f} s: {steps / length / slots:6.1%} of wall x {slots} slots in training steps, "
            f"{whole / length / slots:6.1%} with validation",
            flush=True,
        )
    length = (last - first) * slots
    print(
        f"    of the slots' time from first trial to last: {within / length:.1%} in trials beside epochs, "
        f"{math.fsum(last - end for end in by_slot.values()) / length:.1%} idle at the end, "
        f"{math.fsum(start - first for start in begun.values()) / length:.1%} idle at the start",
        flush=True,
    )
    return wall


def sequential(space: SearchSpace, train: LatentSet, val: LatentSet) -> tuple[float, int]:
    """Runs (a), and returns its wall seconds and its epochs."""
    started = time.perf_counter()
    codes, labels = torch.from_numpy(train.codes).float(), torch.from_numpy(train.labels)
    held_out = DeviceLatents(val)
    configurations = [space.config(suggestion.params) for suggestion in suggestions(space)]
    stopping = space.early_stopping
    pruner = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=stopping.grace_epochs, reduction_factor=stopping.reduction_factor
    )
    epochs = 0

    def objective(trial: optuna.Trial) -> float:
        nonlocal epochs
        best = 0.0
        for epoch, f1 in enumerate(plain_training(configurations[trial.number], codes, labels, held_out), start=1):
            epochs += 1
            best = max(best, f1)
            trial.report(best, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.create_study(direction="maximize", pruner=pruner).optimize(objective, n_trials=len(configurations))
    return time.perf_counter() - started, epochs


def suggestions(space: SearchSpace) -> Any:
    sampler = SpaceSampler(space)
    return [sampler.ask() for _ in range(space.search.trials)]


def plain_training(config: TrainConfig, codes: torch.Tensor, labels: torch.Tensor, val: DeviceLatents) -> Any:
    """Trains in a float32 eager loop, and yields macro-F1 on validation after each epoch."""
    torch.manual_seed(config.seed)
    model: nn.Module = GuideViT(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
    for _ in range(config.epochs):
        model.train()
        for rows in torch.randperm(len(labels)).split(config.batch_size):
            loss = F.cross_entropy(model(codes[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if config.scheduler == "cosine":
            schedule.step()
        yield validate(model, val)[1]


def stock(space: SearchSpace, train: LatentSet, val: LatentSet) -> float:
    """Runs some trials of (b), and returns their wall seconds."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, connect("local", Path(folder) / "ray.log"):
        import ray
        from ray import tune
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
        from ray.tune.integration.ray_train import TuneReportCallback
        from ray.tune.schedulers import ASHAScheduler

        refs = ray.put(train), ray.put(val)
        configurations = [space.config(one.params) for one in suggestions(space)[:STOCK_TRIALS]]

        def on_worker(job: dict[str, Any]) -> None:
            import ray.train

            torch.set_num_threads(1)
            training, held_out = (ray.get(ref) for ref in refs)
            codes, labels = torch.from_numpy(training.codes).float(), torch.from_numpy(training.labels)
            for f1 in plain_training(job["config"], codes, labels, DeviceLatents(held_out)):
                ray.train.report({"f1_macro": f1})

        def trial(choice: dict[str, Any]) -> None:
            TorchTrainer(
                on_worker,
                train_loop_config={"config": configurations[choice["i"]]},
                scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.9}),
                run_config=RunConfig(
                    storage_path=folder, name=f"trial-{choice['i']}", callbacks=[TuneReportCallback()]
                ),
            ).fit()

        stopping = space.early_stopping
        tune.Tuner(
            tune.with_resources(trial, {"CPU": 0.01}),
            param_space={"i": tune.grid_search(list(range(STOCK_TRIALS)))},
            tune_config=tune.TuneConfig(
                metric="f1_macro",
                mode="max",
                max_concurrent_trials=2,
                scheduler=ASHAScheduler(
                    max_t=stopping.max_epochs,
                    grace_period=stopping.grace_epochs,
                    reduction_factor=stopping.reduction_factor,
                ),
            ),
            run_config=tune.RunConfig(storage_path=folder, name="stock", verbose=0),
        ).fit()
    return time.perf_counter() - started


def bookkeeping(trials: int) -> None:
    """Measures the driver's time for trials that do nothing but report once, and how it grows with their number."""
    raw = {**SPACE, "search": {"sampler": "tpe", "trials": trials, "seed": 5}}
    space = parse_space({**raw, "early_stopping": {"max_epochs": 1, "grace_epochs": 1}}, "benchmark")
    with tempfile.TemporaryDirectory() as name, connect("local", Path(name) / "ray.log"):
        folder = Path(name)
        ran = run_instant(space, folder)
        started = time.perf_counter()
        write_leaderboard(ran.ledger.records, space, folder / "leaderboard.csv")
        print(f"leaderboard.csv of {trials} trials: {1000 * (time.perf_counter() - started):.0f} ms, once")
        ends = [event.time for event in ran.events if isinstance(event, TrialEnded)]
    print(
        f"{trials} trials: {1000 * (ends[-1] - ends[0]) / (trials - 1):.1f} ms each, "
        f"{1000 * ran.cpu / trials:.1f} ms of CPU"
    )
    quarters = [ends[round(i * (trials - 1) / 4)] for i in range(5)]
    for i, (begin, end) in enumerate(itertools.pairwise(quarters)):
        print(f"    quarter {i + 1}: {1000 * (end - begin) / (trials / 4):.1f} ms each")


if __name__ == "__main__":
    run(main)
