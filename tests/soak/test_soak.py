"""An hour of sweeps and encodings on a real Ray, whose processes of every kind are killed at random moments.

`make soak` runs it; FERVIT_SOAK_MINUTES is its length. In the first two thirds of the time, Ray itself lives through
all: a driver, a trial, an encoder, the dashboard or the log monitor is killed, and the memory of Ray's processes is
measured after each command. Then what ends a Ray is killed, too: its raylet with the object store, its GCS, its agents.
The command may then end, and the same command goes on, on a new Ray.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest
import yaml

from fervit.images.demo_faces import write_demo_faces
from fervit.latents import LatentSet
from fervit.search.records.sweep_folder import SweepFolder
from tests.conftest import SMALL_SPACE, write_splits
from tests.helpers.own_ray import OwnRay, resident_mb, shared_memory
from tests.helpers.processes import Running, launch
from tests.helpers.sweeps import leaderboard

GENTLE = ("driver", "trial", "encoder", "dashboard", "log monitor")
HARSH = ("raylet", "GCS", "dashboard agent", "runtime environment agent")
MINUTES = float(os.environ.get("FERVIT_SOAK_MINUTES", "60"))
ATTEMPTS = 40
"""How often a command is given again before it counts as stuck."""


@pytest.fixture
def ray() -> Iterator[OwnRay]:
    folder = Path(mkdtemp(prefix="fvs", dir="/tmp"))
    ray = OwnRay(folder, folder.name)
    yield ray
    ray.end()
    shutil.rmtree(folder)


class Soak:
    """Commands one after the other, and what was killed meanwhile."""

    def __init__(self, ray: OwnRay, folder: Path) -> None:
        self.ray, self.folder, self.killed = ray, folder, Counter[str]()
        self.commands, self.attempts = Counter[str](), 0
        self.random = random.Random(0)
        self.memory: list[dict[str, float]] = []
        self.peaks: dict[str, list[float]] = defaultdict(list)
        """The most megabytes of a command, a trial and an encoder, for each command that came to its end."""

    def sweep(self, kinds: tuple[str, ...]) -> None:
        """Runs a sweep to its end, whatever is killed."""
        name = f"soak{self.commands['sweep']}"
        raw = yaml.safe_load(SMALL_SPACE)
        raw |= {"name": name, "confirm": {"top": 1, "seeds": 2}}
        raw["search"] |= {"trials": 6}
        raw["early_stopping"] |= {"max_epochs": 8}
        raw["fixed"]["batch_size"] = 2
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(raw))
        words = ("tune", "--space", f"{name}.yaml", "--latents", "latents", "--resume")
        self._to_its_end(words, [kind for kind in kinds if kind != "encoder"])
        (folder,) = (self.folder / "experiments").glob(f"{name}_*")
        rows = [row for row in leaderboard(folder) if row["state"] in ("finished", "stopped")]
        assert sorted({int(row["trial"]) for row in rows}) == list(range(6)), leaderboard(folder)
        assert (SweepFolder(folder).best / "best_model.pt").is_file()
        assert not list(folder.rglob(".tmp*"))
        shutil.rmtree(folder)
        self.commands["sweep"] += 1

    def encode(self, kinds: tuple[str, ...]) -> None:
        """Encodes all faces, whatever is killed."""
        out = self.folder / "codes"
        words = ("encode", "--data_root", "faces", "--latent_out", out, "--encoder_type", "demo", "--batch_size", 2)
        self._to_its_end(words, [kind for kind in kinds if kind != "trial"])
        for split, n in (("train", 7 * 40), ("val", 7 * 4)):
            assert len(set(LatentSet.read(str(out / split)).image_ids)) == n
        assert not list(out.rglob(".part-*"))
        shutil.rmtree(out)
        self.commands["encoding"] += 1

    def _to_its_end(self, words: tuple[object, ...], kinds: list[str]) -> None:
        for _ in range(ATTEMPTS):
            self.attempts += 1
            if not self.ray.address:
                self.ray.start()
            driver = launch(str(words[0]), *words[1:], cwd=self.folder, env=self.ray.environment())
            kind = self.random.choice(kinds)
            with ThreadPoolExecutor(1) as pool:
                peaks = pool.submit(self._peaks, str(words[0]), driver)
                self._wait_a_while(driver)
                killed = self._kill(kind, driver)
                printed = driver.ended()
            assert "Traceback" not in printed, printed[-3000:]
            assert driver.returncode == 0 or killed, printed[-3000:]
            if kind in HARSH and killed:
                assert self.ray.workers_left() == []  # they end by themselves, also without their raylet
                self.ray.end()
            if driver.returncode == 0:
                for process, peak in peaks.result().items():
                    self.peaks[process].append(peak)
                break
        else:
            raise AssertionError(f"{words} does not end: {printed[-3000:]}")
        if self.ray.address:
            assert self.ray.workers_left() == []
            self.memory.append(self.ray.memory_mb())

    def _peaks(self, command: str, driver: Running) -> dict[str, float]:
        """Measures a command and its workers each second until it ends."""
        peaks: dict[str, float] = defaultdict(float)
        while driver.returncode is None:
            peaks[command] = max(peaks[command], resident_mb(driver.pid))
            for kind in ("trial", "encoder"):
                for pid in self.ray.of_kind(kind):
                    peaks[kind] = max(peaks[kind], resident_mb(pid))
            time.sleep(1)
        return peaks

    def _wait_a_while(self, driver: Running) -> None:
        until = time.monotonic() + self.random.uniform(2, 25)
        while driver.returncode is None and time.monotonic() < until:
            time.sleep(0.1)

    def _kill(self, kind: str, driver: Running) -> bool:
        if driver.returncode is not None:
            return False
        if kind == "driver":
            driver.kill()
        else:
            pids = self.ray.of_kind(kind)
            if not pids:
                return False
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(pids), signal.SIGKILL)
        self.killed[kind] += 1
        return True


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_sweeps_and_encodings_survive_an_hour_of_kills(
    ray: OwnRay, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    write_splits(tmp_path / "latents")
    write_demo_faces(tmp_path / "faces", {"train": 40, "val": 4}, seed=1)
    before = shared_memory()
    soak, began = Soak(ray, tmp_path), time.monotonic()

    def minutes() -> float:
        return (time.monotonic() - began) / 60

    while minutes() < MINUTES * 2 / 3:
        soak.sweep(GENTLE)
        soak.encode(GENTLE)
    lived, memory, peaks = ray.starts, soak.memory, dict(soak.peaks)
    soak.memory, soak.peaks = [], defaultdict(list)
    while minutes() < MINUTES:
        soak.sweep((*GENTLE, *HARSH))
        soak.encode((*GENTLE, *HARSH))
    ray.end()
    measured(f"{minutes():.0f} minutes: {dict(soak.commands)} in {soak.attempts} attempts, killed {dict(soak.killed)}")
    measured(f"Rays: {lived} with gentle kills, then {ray.starts - lived}")
    kinds = set(memory[0]) - {"dashboard", "log monitor"}  # which were killed
    for kind, sizes in {**{kind: [one[kind] for one in memory] for kind in kinds}, **peaks}.items():
        quarter = max(1, len(sizes) // 4)
        first, last = (statistics.median(part) for part in (sizes[quarter : 2 * quarter] or sizes, sizes[-quarter:]))
        measured(f"{kind}: {first:.0f} MB in the second quarter, {last:.0f} MB in the last of {len(sizes)} commands")
        assert last < 1.25 * first + 20, kind
    assert lived == 1
    assert shared_memory() <= before, shared_memory() - before
