"""What the driver and the report take in long sweeps: memory and CPU of opening a sweep's journal, and of its report.

A journal is made up, of trials that all train all their epochs. Each measurement is a process of its own: (a) opens
the sweep as `--resume` does, with Optuna's study lost, so that it is made again; (b) opens it again; (c) writes
report.html. The floor is linear: ten times the trials take ten times the CPU. Memory is what the process has more at
its end, and at its peak, than before it read anything; 10,000 trials x 100 epochs may take 500 MB more in the driver.

    python -m benchmarks.long_sweep [--trials 1000 10000] [--epochs 100] [--scheduler median]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fervit.cli import Parser, positive_int, run
from fervit.io.files import write_json
from fervit.search.opening import open_ledger, open_search
from fervit.search.records.events import FORMAT, EpochEnded, SessionBegan, TrialEnded, TrialStarted, to_row
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.training.epoch import FIELDS, EpochResult
from tests.report.conftest import ENVIRONMENT


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--trials", type=positive_int, nargs="+", default=[1000, 10_000], help="of the sweeps")
    parser.add_argument("--epochs", type=positive_int, default=100, help="of each trial")
    parser.add_argument("--scheduler", default="median", choices=("asha", "hyperband", "median", "none"))
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "FOLDER"), help="what the processes of this command do")
    args = parser.parse()
    if args.measure:
        what, folder = args.measure
        (measure_report if what == "report" else measure_driver)(Path(folder), what)
        return
    for trials in args.trials:
        with tempfile.TemporaryDirectory() as name:
            make_up(Path(name), trials, args.epochs, args.scheduler)
            size = SweepFolder(Path(name)).journal.stat().st_size / 1e6
            print(f"{trials:,} trials x {args.epochs} epochs, {args.scheduler}: a journal of {size:.0f} MB", flush=True)
            for what in ("study made again", "opened", "report"):
                command = [sys.executable, "-m", "benchmarks.long_sweep", "--measure", what, name]
                subprocess.run(command, check=True)


def space_of(trials: int, epochs: int, scheduler: str) -> SearchSpace:
    parameters = {
        "lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-1},
        "dropout": {"distribution": "uniform", "min": 0.0, "max": 0.5},
        "depth": {"values": [1, 2, 4]},
    }
    raw = {"name": "long", "search": {"trials": trials}, "parameters": parameters}
    return parse_space({**raw, "early_stopping": {"scheduler": scheduler, "max_epochs": epochs}}, "long")


def make_up(folder: Path, trials: int, epochs: int, scheduler: str) -> None:
    """Writes the journal of a sweep that ran one trial after the other, and the files beside it."""
    files, rng = SweepFolder(folder), np.random.default_rng(0)
    files.write_space(space_of(trials, epochs, scheduler))
    write_json(files.environment, ENVIRONMENT)
    with files.journal.open("w") as file:

        def write(event: SessionBegan | TrialStarted | EpochEnded | TrialEnded) -> None:
            file.write(json.dumps(to_row(event)) + "\n")

        now = 0.0
        write(SessionBegan(time=1.8e9, at=0.0, format=FORMAT))
        for number in range(trials):
            name = f"trial_{number:04d}"
            params = {"lr": float(10 ** rng.uniform(-5, -1)), "dropout": float(rng.uniform(0, 0.5)), "depth": 2}
            write(TrialStarted(time=1.8e9 + now, at=now, name=name, number=number, seed=42, params=params))
            best, began = 0.0, now
            for epoch, noise in enumerate(rng.normal(0, 0.01, epochs), start=1):
                now += 1.0
                value = 0.5 * (1 - 0.9**epoch) + float(noise)
                best = max(best, value)
                row = {**dict.fromkeys(FIELDS, value), "epoch": epoch, "seconds": 0.9, "samples_per_second": 1e3}
                write(
                    EpochEnded(
                        time=1.8e9 + now,
                        at=now,
                        name=name,
                        row=EpochResult.from_json(row),
                        best_value=best,
                        finished=epoch == epochs,
                        saved=epoch,
                        started=1.8e9 + began,
                        pid=7,
                        stops=False,  # the rule is fed all the same
                    )
                )
            write(TrialEnded(time=1.8e9 + now, at=now, name=name, state="finished"))


def measure_driver(folder: Path, what: str) -> None:
    """Opens a sweep as the driver does, and prints what that takes."""
    files = SweepFolder(folder)
    space = files.read_space()
    before, started = resident(), time.process_time()
    ledger = open_ledger(space, files)
    read = time.process_time() - started
    source = open_search(space, files, ledger)
    print(
        f"    driver, {what}: {time.process_time() - started:.1f} s CPU ({read:.1f} s of it the journal and the rule), "
        f"{resident() - before:.0f} MB more, {peak() - before:.0f} MB at the peak, {source.total} trials",
        flush=True,
    )


def measure_report(folder: Path, what: str) -> None:
    """Writes the report of a sweep, and prints what that takes."""
    from fervit.report.results import SweepReading
    from fervit.report.write import write_report

    before, started = resident(), time.process_time()
    reading = SweepReading(SweepFolder(folder).journal)
    write_report(folder, running=True, reading=reading)
    first = time.process_time() - started
    write_report(folder, running=True, reading=reading)
    print(
        f"    {what}: {first:.1f} s CPU, {time.process_time() - started - first:.1f} s the next time, "
        f"{resident() - before:.0f} MB more, {peak() - before:.0f} MB at the peak",
        flush=True,
    )


def resident() -> float:
    """Returns the memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak() -> float:
    """Returns the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    run(main)
