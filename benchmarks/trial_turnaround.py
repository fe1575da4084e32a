"""What it costs to go from one trial to the next, and how much memory two trials at once take.

    python benchmarks/trial_turnaround.py --latents LATENTS      # made by ../shared/tools/make_w_plus.py --scale 1

Trials of five epochs of a tiny model run two at a time on the same latents. Compared are, in one run: the time from a
trial's last report to the next trial's start in the same process (the floor is 0: no new process, no data to load),
and the machine's shared memory with the size of the latents (the floor: one copy) and that times two (a copy each).
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
import time
from pathlib import Path

from fervit.cluster.connection import connect
from fervit.latents import LatentSet
from fervit.search.opening import open_ledger
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.stopping import NeverStops
from fervit.search.records.events import Purpose
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import Params, SearchSpace, Values
from fervit.search.space.settings import TrialResources
from fervit.search.workers.tuner import run_trials
from fervit.search.workers.worker_group import SharedLatents
from fervit.training.config import TrainConfig

TINY = TrainConfig(embed_dim=32, depth=1, heads=4, mlp_dim=32, batch_size=512, epochs=5, scheduler="none")


class SameTrial:
    """A source that plans the same configuration again and again."""

    purposes: tuple[Purpose, ...] = ("search",)
    enough = ""

    def __init__(self, total: int) -> None:
        self.total, self._next = total, 0

    def ask(self) -> Planned | None:
        number, self._next = self._next, self._next + 1
        return Planned(number, f"trial_{number:04d}", {"depth": 1}, TINY) if number < self.total else None

    def add(self, params: Params) -> None: ...

    def report(self, number: int, epoch: int, value: float) -> None: ...

    def tell(self, record: TrialRecord) -> None: ...


class MemoryWatch(threading.Thread):
    """Watches the memory, and keeps the largest values in MiB.

    They are the own memory and the mapped shared memory of each trial process, and the shared memory of the machine.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own: dict[int, float] = {}
        self.view: dict[int, float] = {}
        self.before = self.machine = _mebibytes(Path("/proc/meminfo"), "Shmem")
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.2):
            self.machine = max(self.machine, _mebibytes(Path("/proc/meminfo"), "Shmem"))
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if b"LatentTrial" not in (process / "cmdline").read_bytes():
                        continue
                    pid, status = int(process.name), process / "status"
                    self.own[pid] = max(self.own.get(pid, 0), _mebibytes(status, "RssAnon"))
                    self.view[pid] = max(self.view.get(pid, 0), _mebibytes(status, "RssShmem"))
                except (OSError, KeyError):
                    continue  # the process has just ended


def _mebibytes(path: Path, key: str) -> float:
    values = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(values[key].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", required=True)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1, help="of each trial (DDP)")
    args = parser.parse_args()

    started = time.perf_counter()
    train, val = (LatentSet.read(f"{args.latents}/{split}") for split in ("train", "val"))
    megabytes = (train.codes.nbytes + val.codes.nbytes) / 2**20
    print(f"read {len(train)} + {len(val)} codes, {megabytes:.0f} MiB, in {time.perf_counter() - started:.1f} s")
    space = SearchSpace(name="turnaround", parameters={"depth": Values(values=(1,))})
    watch = MemoryWatch()
    with tempfile.TemporaryDirectory() as folder, connect(None, Path(folder) / "ray.log"):
        files = SweepFolder(Path(folder))
        ledger = open_ledger(space, files, rule=NeverStops())
        ledger.use(SameTrial(args.trials))
        watch.start()
        run_trials(ledger, files, SharedLatents.put(train, val), TrialResources(workers=args.workers), name="trials")
        watch.over.set()

    gaps = []
    for pid in {record.pid for record in ledger.records}:
        runs = sorted((r for r in ledger.records if r.pid == pid), key=lambda record: record.started)
        gaps += [after.started - before.ended for before, after in itertools.pairwise(runs)]
    gaps.sort()
    print(f"trials: {len(ledger.records)} in {len({r.pid for r in ledger.records})} processes")
    print(
        f"from one trial's end to the next one's start: median {gaps[len(gaps) // 2]:.3f} s, longest {gaps[-1]:.3f} s"
    )
    for pid in {record.pid for record in ledger.records}:
        print(f"process {pid}: own memory {watch.own[pid]:.0f} MiB, view of shared memory {watch.view[pid]:.0f} MiB")
    print(f"shared memory of the whole machine: {watch.machine - watch.before:.0f} MiB more than before the run")


if __name__ == "__main__":
    main()
