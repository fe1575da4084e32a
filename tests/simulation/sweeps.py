"""Runs the sweep of a seed, session after session, until it ends."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

from fervit.errors import JobError
from fervit.search.console.failure_log import FailureLog
from fervit.search.driver import Driver, Room
from fervit.search.ledger import Ledger, Observer
from fervit.search.opening import models_kept
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.events import SessionBegan
from fervit.search.records.journal import JournalFile, JournalReader
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.simulated import run_on
from fervit.search.space.search_space import SearchSpace
from fervit.search.steps import Sweep
from fervit.training.epoch import EpochResult
from tests.simulation.invariants import ViolationError, Watch, check_end, check_journal, check_session
from tests.simulation.machines import Killed, Machines, World, between_sessions
from tests.simulation.models import in_place_of_checkpoints
from tests.simulation.plan import FACES, Plan


@dataclass
class Simulated:
    """What came of a seed."""

    seed: int
    reports: int = 0
    sessions: int = 0
    virtual_hours: float = 0.0
    outcome: str = ""
    told: str = ""
    """Why the sweep has no model; "" if it has one."""
    violation: Exception | None = None
    settled: list[tuple[str, int]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.violation}; python -m tests.simulation.show {self.seed} shows it step by step"
            if self.violation
            else f"seed {self.seed}: {self.outcome}, {self.reports} reports in {self.sessions} sessions, "
            f"{self.virtual_hours:.1f} h"
        )


def simulate(seed: int, show: Callable[[str], None] | None = None) -> Simulated:
    """Runs the sweep of a seed to its end, and returns what came of it.

    Args:
        seed: the seed.
        show: gets a line for each step.
    """
    root = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="fervit-simulated-", dir=root))
    result = Simulated(seed)
    try:
        _run(Plan(seed), folder, result, show)
    except Exception as error:  # whatever the product raises here, a user would have seen it
        result.violation = error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _run(plan: Plan, folder: Path, result: Simulated, show: Callable[[str], None] | None) -> None:
    files = SweepFolder(folder)
    world = World(plan, files, show)
    extended = False
    while True:
        result.sessions += 1
        world.sessions += 1
        if world.sessions > plan.most_sessions:
            world.faults = False
        if world.sessions > 2 * plan.most_sessions + 20:
            raise ViolationError("the sweep does not end")
        space = plan.space(extended=extended)
        outcome, ledger = run_session(world, space, result, Watch(world))
        world.say(f"the session ends: {outcome}")
        events = list(JournalReader(files.journal))
        if ledger is not None:
            check_session(ledger, events)
        check_journal(events, result.settled)
        result.outcome, result.virtual_hours = outcome, world.now / 3600
        if outcome in ("done", "nothing finished"):
            check_end(world, space, events)
            if extended or not plan.is_extended:
                return
            extended, world.sessions = True, 0
        between_sessions(world)


class Looks(Protocol):
    """What looks at a sweep while it runs."""

    def begins(self, ledger: Ledger) -> None:
        """Is called when a part begins."""
        ...

    def __call__(self, machines: Machines, driver: Driver) -> None:
        """Is called after each step."""
        ...


def run_session(world: World, space: SearchSpace, result: Simulated, watch: Looks) -> tuple[str, Ledger | None]:
    """Runs one command on the folder of the sweep, and returns how it ended, and its ledger."""
    plan, files = world.plan, world.folder
    kill = world.faults and plan.kill_every and world.rng.random() < 0.9
    world.points_left = 1 + int(world.rng.expovariate(1 / plan.kill_every)) if kill else None
    world.say(f"a session begins: {space.search.trials} trials, {space.early_stopping.scheduler}, {space.budget}")
    world.last_reports.clear()
    ledger: _Ledger | None = None
    try:
        with in_place_of_checkpoints(world.point):
            ledger = _Ledger(world, space, result)
            codes = np.zeros((FACES, 2, 2), np.float16)
            latents = SimpleNamespace(sha256=[], encoder=SimpleNamespace(to_json=dict), codes=codes)
            splits = SimpleNamespace(
                test="test",
                train=latents,
                val=latents,
                exclusion=None,
                no_faces=False,
                changes=[],
                read_test=lambda: (None, None),
            )
            most = space.search.max_concurrent_trials

            def run_part() -> None:
                assert ledger is not None
                machines = Machines(world, space, watch)
                room = Room(machines.look, most, world.monotonic)
                driver = Driver(ledger, room, space.trial, files, world.monotonic)
                watch.begins(ledger)

                def backend() -> None:
                    run_on(machines, driver)
                    machines.end()

                driver.run(backend)

            sweep = Sweep(ledger, files, splits, run_part, result.lines.append)  # type: ignore[arg-type]
            sweep.run(second_look=True)
        return "done", ledger
    except Killed:
        return "killed", ledger
    except KeyboardInterrupt:
        return "interrupted", ledger
    except OSError as error:
        if error.errno != errno.ENOSPC or not world.disk_full:
            raise
        return "disk full", ledger
    except JobError as error:
        if "disk full" in str(error) and world.disk_full:
            return "disk full", ledger
        if "no trial finished" not in str(error) and "no trial had written a model" not in str(error):
            raise
        result.told = str(error)
        return "nothing finished", ledger
    finally:
        world.points_left = None
        if ledger is not None:
            ledger.close()


class _Journal(JournalFile):
    """A journal on a disk that may be full, of a driver that may be killed before and after each line, and within."""

    def __init__(self, world: World) -> None:
        super().__init__(world.folder.journal, world.wall)
        self._world = world

    def append(self, kind: Callable[..., Any], **values: Any) -> Any:
        world = self._world
        world.point(f"before a line of the journal ({kind.__name__})")
        if world.disk_full and kind is not SessionBegan:
            self._write_part()
            raise OSError(errno.ENOSPC, "No space left on device")
        event = super().append(kind, **values)
        world.recorded = world.now
        world.point(f"after a line of the journal ({kind.__name__})")
        return event

    def _write_part(self) -> None:
        with self.events.path.open("ab") as file:
            file.write(b'{"event": "epo'[: self._world.rng.randint(0, 14)])


class _Reports(Observer):
    """Counts the reports."""

    def __init__(self, result: Simulated) -> None:
        self._result = result

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        self._result.reports += 1

    def remark(self, text: str) -> None:
        self._result.lines.append(text)


class _Ledger(Ledger):
    """A ledger in a simulated world, which notes what it settles."""

    def __init__(self, world: World, space: SearchSpace, result: Simulated) -> None:
        files = world.folder
        self._result = result
        super().__init__(
            space,
            _Journal(world),
            stopping_rule(space.early_stopping, space.metric),
            [_Reports(result), FailureLog(files.failures)],
            models=models_kept(space, files),
            clock=world.monotonic,
        )

    def settle(self, name: str, row: EpochResult, *, finished: bool) -> None:
        self._result.settled.append((name, row.epoch))
        super().settle(name, row, finished=finished)
