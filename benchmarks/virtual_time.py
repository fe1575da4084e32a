"""What the driver of a sweep takes for each report, without Ray: whole sweeps in virtual time, on disk as real ones.

The random sampler, trials of 60 epochs of one simulated minute, a fault a simulated hour (a process, a node, a request
to end: `tests/simulation`). Compared in one run with (a) plain Optuna on its own journal file, which gets the same
number of trials and reports and keeps nothing else, and (b) the floor: the lines of both journals are only made and
written. The goal is 5,000 reports a second of one core, the simulated machines included.

    python -m benchmarks.virtual_time [--slots 64] [--trials 300] [--epochs 60] [--fault_every 3600] [--rack]
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna

from fervit.cli import Parser, positive_int, run
from fervit.search.driver import Driver
from fervit.search.records.journal import JournalReader
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.space_file import parse_space
from tests.simulation.machines import Machines, World, between_sessions
from tests.simulation.plan import Plan
from tests.simulation.sweeps import Simulated, run_session

A_NODE = 8
"""The places of a node."""


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--slots", type=positive_int, default=64, help="trials at once, eight on a node")
    parser.add_argument("--trials", type=positive_int, default=300)
    parser.add_argument("--epochs", type=positive_int, default=60, help="of each trial")
    parser.add_argument("--epoch_s", type=float, default=60.0, help="simulated seconds of an epoch")
    parser.add_argument("--fault_every", type=float, default=3600.0, help="seconds between two faults; 0 for none")
    parser.add_argument("--rack", action="store_true", help="a quarter of the nodes dies together after a tenth of it")
    args = parser.parse()
    plan = Sweep(args.slots, args.trials, args.epochs, args.epoch_s, args.fault_every)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reports, cpu, hours = simulated(plan, folder, rack=args.rack)
        print(f"ours: {reports / cpu:,.0f} reports a second of one core, {1e6 * cpu / reports:.0f} us each", flush=True)
        print(f"    {hours:,.0f} simulated trial-hours in {cpu:.1f} s of CPU: {3600 * hours / cpu:,.0f} an hour")
        alone = optuna_alone(folder / "alone.journal", args.trials, reports)
        floor = only_written(folder)
    print(f"(a) plain Optuna: {1e6 * alone / reports:.0f} us each; ours is {alone / cpu:.2f} times as fast")
    print(f"(b) floor: {1e6 * floor / reports:.0f} us each; ours takes {cpu / floor:.1f} times as long")


class Sweep(Plan):
    """A sweep of one kind in place of one that is drawn."""

    def __init__(self, slots: int, trials: int, epochs: int, epoch_s: float, fault_every_s: float) -> None:
        super().__init__(0)
        self.nodes = [A_NODE] * (slots // A_NODE) + ([slots % A_NODE] if slots % A_NODE else [])
        self.epoch_s, self.fault_every_s, self.kill_every, self.failing = epoch_s, fault_every_s, 0, 0.01
        self.most_steps = 100_000 + 10 * trials * epochs
        self.wobbles, self.save_every, self.added_trials = False, 5, 0
        self.raw = {
            "name": "simulated",
            "search": {"sampler": "random", "trials": trials, "seed": 1},
            "early_stopping": {"scheduler": "none", "max_epochs": epochs},
            "parameters": {
                "lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-1},
                "depth": {"values": [2, 4]},
            },
            "trial": {"gpus": 1, "max_failures": 1000},
            "budget": {},
        }
        parse_space(self.raw, "simulated")


def simulated(plan: Sweep, folder: Path, *, rack: bool) -> tuple[int, float, float]:
    """Runs the sweep to its end, and returns its reports, the CPU seconds and the simulated trial-hours."""
    files, result = SweepFolder(folder), Simulated(0)
    world = World(plan, files)
    looks = Idle(world, rack=rack)
    started = time.process_time()
    while True:
        outcome, ledger = run_session(world, plan.space(), result, looks)
        if outcome == "done":
            break
        looks.restarts += 1
        between_sessions(world)
    cpu = time.process_time() - started
    assert ledger is not None
    print(
        f"{plan.space().search.trials:,} trials x {plan.space().early_stopping.max_epochs} epochs in "
        f"{world.most_places:,} places: {result.reports:,} reports, {looks.restarts} restarts, "
        f"{world.now / 3600:.1f} simulated hours",
        flush=True,
    )
    print(f"    idle while trials waited: {looks.idle:.2%} of the places' time; driver busy: {looks.load(cpu):.1%}")
    if rack:
        print(f"    {looks.lost} places were lost; all others were busy again {looks.recovered_s:.0f} s later")
    return result.reports, cpu, ledger.gpu_seconds() / 3600


class Idle:
    """Measures how much of the places' time is idle while trials wait, and what happens when a rack is lost."""

    def __init__(self, world: World, *, rack: bool) -> None:
        self._world, self._rack = world, rack
        self._before = world.now
        self._began = world.now
        self._lost_at: float | None = None
        self._all = self._idle = 0.0
        self.restarts = self.lost = 0
        self.recovered_s = float("nan")

    def begins(self, ledger: Any) -> None:
        """Notes that a session begins."""
        self._before = self._world.now

    def __call__(self, machines: Machines, driver: Driver) -> None:
        """Counts the time since the last step."""
        world = self._world
        seconds, self._before = world.now - self._before, world.now
        places = sum(node.places for node in world.nodes if node.alive)
        if driver.ledger.source.total > driver.ledger.n_ended + driver.ledger.n_running:
            self._all += seconds * places
            self._idle += seconds * max(0, places - machines.n_busy)
        if self._rack and self._lost_at is None and world.now - self._began > 6 * world.plan.epoch_s:
            self._lost_at = world.now
            for node in world.nodes[: max(1, len(world.nodes) // 4)]:
                self.lost += node.places
                machines.node_dies(node)
        elif self._lost_at is not None and self.recovered_s != self.recovered_s and world.now > self._lost_at + 61:
            left = sum(node.places for node in world.nodes if node.alive and node.listed)
            if machines.n_busy >= left:
                self.recovered_s = world.now - self._lost_at

    @property
    def idle(self) -> float:
        """The share of the places' time that was idle while the sampler had trials."""
        return self._idle / self._all if self._all else 0.0

    def load(self, cpu: float) -> float:
        """Returns the share of the simulated time that the driver would have been busy."""
        return cpu / (self._world.now - self._began)


def optuna_alone(path: Path, trials: int, reports: int) -> float:
    """Tells plain Optuna as many trials and reports, on its own journal file, and returns the CPU seconds."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    started = time.process_time()
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend), sampler=optuna.samplers.RandomSampler(seed=1)
    )
    for _ in range(trials):
        trial = study.ask()
        trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        trial.suggest_categorical("depth", [2, 4])
        for epoch in range(1, reports // trials + 1):
            trial.report(0.5, epoch)
        study.tell(trial, 0.5)
    return time.process_time() - started


def only_written(folder: Path) -> float:
    """Writes the lines of both journals once more, and returns the CPU seconds."""
    files = SweepFolder(folder)
    rows = [json.loads(line) for path in (files.journal, files.study) for line in path.read_bytes().splitlines()]
    assert sum(1 for _ in JournalReader(files.journal)) < len(rows)
    started = time.process_time()
    with (folder / "again").open("wb", buffering=0) as file:
        for row in rows:
            file.write(json.dumps(row).encode() + b"\n")
    return time.process_time() - started


if __name__ == "__main__":
    run(main)
