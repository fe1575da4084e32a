"""Machines in virtual time that run the trials of a simulated sweep, and on which a plan's faults happen.

A process trains as `workers/trial.py` does: it goes on from its saved state and reports that epoch again, saves before
it reports, and writes its best model before an epoch after which it may be stopped.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fervit.search.driver import LOOK_S, Driver
from fervit.search.ledger import Ledger
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.stopping import decision_epochs
from fervit.search.records.report import TrialReport
from fervit.search.records.sweep_folder import SweepFolder, TrialFolder
from fervit.search.space.search_space import SearchSpace
from fervit.training.epoch import EpochResult
from fervit.training.failure import NODE_LEAVES, OUT_OF_MEMORY, PROCESS_DIED, Failure
from tests.simulation.models import write, write_model
from tests.simulation.plan import FAULTS, Plan

AGAIN, COPIED = 5, 0.01
"""Which of a trial's last reports may arrive again, and the share of reports after which one of them does."""
DECLARED_DEAD_S = 60.0
"""The seconds of silence after which the cluster gives a node up."""


class Killed(BaseException):
    """The driver is killed."""


@dataclass(eq=False)
class Node:
    """A machine with some places for trials."""

    name: str
    places: int
    alive: bool = True
    listed: bool = True
    """Whether the cluster counts on it, which it does until it notices that the machine is gone."""
    silent_until: float = 0.0
    leaving: bool = False
    others: int = 0
    """The places that another sweep holds."""


@dataclass(eq=False)
class Process:
    """A process that trains one trial after the other."""

    pid: int
    node: Node
    alive: bool = True
    given_up: bool = False
    """Whether the cluster has told the driver of its death, after which nothing of it arrives."""
    training: Training | None = None


@dataclass(eq=False)
class Training:
    """A trial in a process."""

    planned: Planned
    files: TrialFolder
    started: float
    epoch: int = 0
    decided_after: tuple[int, ...] | None = None
    saved: int = 0
    best: EpochResult | None = None
    best_on_disk: int = 0
    unreported: EpochResult | None = None
    has_reported: bool = False


@dataclass
class World:
    """What outlasts a session: the time, the nodes, the disk. All that happens is drawn from one generator.

    Args:
        plan: what the seed stands for.
        folder: the folder of the sweep.
        show: gets a line for each step.
    """

    plan: Plan
    folder: SweepFolder
    show: Callable[[str], None] | None = None
    now: float = 1000.0
    wall_offset: float = 1.8e9
    disk_full: bool = False
    points_left: int | None = None
    """How many points the driver passes until it is killed; None if it is not."""
    faults: bool = True
    sessions: int = 0
    steps: int = 0
    held_s: dict[str, float] = field(default_factory=lambda: {"search": 0.0, "confirm": 0.0})
    """The seconds in which trials of a part held a place, as the machines know it."""
    gpu_s: dict[str, float] = field(default_factory=lambda: {"search": 0.0, "confirm": 0.0})
    """The seconds for which they held GPUs, summed over the GPUs."""
    recorded: float = 0.0
    """When the journal got its last line."""
    lost_s: dict[str, float] = field(default_factory=lambda: {"search": 0.0, "confirm": 0.0})
    """The seconds between the last line of a session and its end, of which nobody knows any more."""
    pids: Any = field(default_factory=lambda: itertools.count(1))
    last_reports: dict[str, list[TrialReport]] = field(default_factory=dict)
    """The last reports of each trial in this session, the latest last."""
    to_come: list[tuple[float, str, Node]] = field(default_factory=list)
    """What will happen to nodes, whichever part of the sweep runs then: when, the method of `Machines`, the node."""

    def __post_init__(self) -> None:
        self.rng = random.Random(f"world {self.plan.seed}")
        self.copies = random.Random(f"copies {self.plan.seed}")
        self.nodes = [Node(f"node{i}", places) for i, places in enumerate(self.plan.nodes)]
        self.most_places = sum(self.plan.nodes)

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.wall_offset

    def say(self, text: str) -> None:
        if self.show is not None:
            self.show(f"{self.now:10.1f} s  {text}")

    def point(self, where: str) -> None:
        """Passes a point at which the driver may be killed."""
        if self.points_left is None:
            return
        self.points_left -= 1
        if self.points_left <= 0:
            self.points_left = None
            self.say(f"THE DRIVER IS KILLED at: {where}")
            raise Killed(where)

    def write(self, work: Callable[[], object]) -> None:
        """Writes a file, unless the disk is full."""
        if self.disk_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        work()


class Machines:
    """The processes of one session.

    Args:
        world: what outlasts the session.
        space: the search space.
        watch: is called after each step.
    """

    def __init__(self, world: World, space: SearchSpace, watch: Callable[[Machines, Driver], None]) -> None:
        self.world, self.space, self._watch = world, space, watch
        self._queue: list[tuple[float, int, Callable[[Driver], None]]] = []
        self._order = itertools.count()
        self.pending: list[Planned] = []
        self.processes: list[Process] = []
        """The processes that the cluster has not given up."""
        self.idle: list[Process] = []
        """Those of them that have no trial."""
        self._held: Counter[str] = Counter()
        """The name of each node -> how many places these processes hold there."""
        self._room: tuple[int, int] | None = None
        """What `look` has found; None if something has changed since."""
        for one in world.to_come:
            self._await(one)
        self._draw_fault()

    # What the driver's loop calls.

    def submit(self, planned: Planned) -> None:
        self.world.say(f"{planned.name} is planned: {planned.params}")
        self.pending.append(planned)

    def step(self, driver: Driver) -> bool:
        world = self.world
        world.point("between two steps")
        self._place(driver)
        if not self.n_busy and not self.pending and not driver.ledger.n_running:
            return False
        # Ray Tune's loop turns all the time; here it only does so where something may come of it.
        looks = bool(self.pending) or driver.interrupted or (self._vacant() and could_begin(driver.ledger))
        due = self._queue[0][0] if self._queue else math.inf
        tick = world.now + LOOK_S + 1 if looks or not self._queue else math.inf
        if due <= tick:
            _, _, happens = heapq.heappop(self._queue)
            self._advance(due, driver.ledger)
            happens(driver)
        else:
            self._advance(tick, driver.ledger)
        world.steps += 1
        if world.steps > world.plan.most_steps:
            raise RuntimeError(f"the sweep does not end within {world.plan.most_steps} steps")
        self._watch(self, driver)
        return True

    def look(self) -> tuple[int, int]:
        """Returns how many trials fit on the cluster, and for how many there is a free place."""
        if self._room is None:
            nodes = [node for node in self.world.nodes if node.listed]
            self._room = sum(node.places for node in nodes), sum(self._free(node) for node in nodes)
        return self._room

    @property
    def n_busy(self) -> int:
        """How many processes work on a trial, as far as the driver knows."""
        return len(self.processes) - len(self.idle)

    def _vacant(self) -> bool:
        """Returns whether a trial could be placed now."""
        return self.look()[1] > 0 or any(process.node.listed for process in self.idle)

    def end(self) -> None:
        """Ends all processes in an orderly way, as Ray Tune does at the end of a run."""
        for process in self.processes:
            if self._works(process) and process.training is not None and process.training.has_reported:
                self._write_best(process.training)

    # Places and processes.

    def _free(self, node: Node) -> int:
        return max(0, node.places - node.others - self._held[node.name])

    def _give_up_process(self, process: Process) -> None:
        process.given_up, self._room = True, None
        self.processes.remove(process)
        self._held[process.node.name] -= 1
        if process.training is None:
            self.idle.remove(process)

    def _works(self, process: Process) -> bool:
        return process.alive and process.node.alive and not process.given_up

    def _place(self, driver: Driver) -> None:
        while self.pending:
            idle = [process for process in self.idle if process.node.listed]
            if idle:
                process, latency = self.world.rng.choice(idle), 0.1
                self.idle.remove(process)
            else:
                nodes = [node for node in self.world.nodes if node.listed and self._free(node)]
                if not nodes:
                    return
                process = Process(next(self.world.pids), self.world.rng.choice(nodes))
                self.processes.append(process)
                self._held[process.node.name] += 1
                self._room = None
                latency = self.world.rng.uniform(2, 20)
            planned = self.pending.pop(0)
            files = self.world.folder.trial(planned.name)
            decided = decision_epochs(self.space.early_stopping, planned.config.warmup_epochs)
            training = Training(planned, files, self.world.wall(), decided_after=decided)
            process.training = training
            self._at(latency, partial(self._begin, process=process, training=training))

    def _begin(self, driver: Driver, process: Process, training: Training) -> None:
        if process.training is not training or process.given_up:
            return
        name = training.planned.name
        if not process.node.alive:
            return  # until the cluster notices
        if (silent := process.node.silent_until - self.world.now) > 0:  # it begins when the node speaks again
            self._at(silent + 0.01, partial(self._begin, process=process, training=training))
            return
        if not process.alive:
            if self.world.rng.random() < 0.5:
                driver.placed(name)
            self.world.say(f"{name} finds its process {process.pid} dead")
            self._lost(driver, process, Failure(PROCESS_DIED, "it was gone between two trials"))
            return
        self.world.say(f"{name} is placed on {process.node.name}, process {process.pid}")
        driver.placed(name)
        training.started = self.world.wall()
        self._restore(training)
        if training.unreported is not None:
            self._at(0.1, lambda driver: self._again(driver, process, training))
        else:
            self._next_epoch(process, training)

    def _restore(self, training: Training) -> None:
        if not training.files.last.is_file():
            return
        state = json.loads(training.files.last.read_text())
        training.epoch = training.saved = state["epoch"]
        training.best = EpochResult.from_json(state["best"]) if state["best"] else None
        training.unreported = EpochResult.from_json(state["last"])
        self._write_best(training)

    # Epochs and reports.

    def _again(self, driver: Driver, process: Process, training: Training) -> None:
        if process.training is not training or not self._works(process):
            return
        row, training.unreported = training.unreported, None
        assert row is not None
        self._send(driver, process, training, self._report(process, training, row, again=True))

    def _next_epoch(self, process: Process, training: Training) -> None:
        plan, ending = self.world.plan, self.world.plan.ending(training.planned)
        if ending.failure is not None and training.epoch >= ending.epoch:
            failure, started = ending.failure, training.started
            self._at(
                1.0, lambda driver: self._send(driver, process, training, TrialReport(failure=failure, started=started))
            )
            return
        self._at(plan.seconds(training.planned), lambda driver: self._epoch_ends(driver, process, training))

    def _epoch_ends(self, driver: Driver, process: Process, training: Training) -> None:
        if process.training is not training or not (process.alive and process.node.alive):
            return  # a process of a silent node trains on
        node, planned = process.node, training.planned
        if node.leaving and training.saved == training.epoch and training.epoch:
            self._leave(process, training)
            return
        training.epoch += 1
        row = self.world.plan.result(planned, training.epoch, process.pid)
        if self.space.metric.improves(row, training.best):
            training.best = row
        try:
            self._keep(driver, process, training, row)
        except OSError as error:
            failure = Failure("OSError", str(error), "Traceback: disk full\n")
            self._send(driver, process, training, TrialReport(failure=failure, started=training.started))
            return
        if node.leaving and training.epoch < planned.config.epochs:
            self._leave(process, training)
        else:
            self._send(driver, process, training, self._report(process, training, row))

    def _keep(self, driver: Driver, process: Process, training: Training, row: EpochResult) -> None:
        """Writes the state or the best model if that is due; see `Session._keep`."""
        decided, last = training.decided_after, training.epoch == training.planned.config.epochs
        pauses = driver.ledger.pauses and decided is not None and training.epoch in decided
        asked = process.node.leaving or driver.interrupted or pauses  # of which the file `.stop` tells the process
        if not last and (asked or training.epoch % self.world.plan.save_every == 0):
            self._write_best(training)
            assert training.best is not None
            state = {"epoch": training.epoch, "last": row.to_json(), "best": training.best.to_json()}
            self.world.write(lambda: write(training.files.last, state))
            training.saved = training.epoch
        elif last or decided is None or training.epoch in decided or self.world.rng.random() < 0.2:
            self._write_best(training)

    def _write_best(self, training: Training) -> None:
        best = training.best
        if best is not None and best.epoch > training.best_on_disk:
            self.world.write(lambda: write_model(training.files.best_model, training.planned.name, best))
            training.best_on_disk = best.epoch

    def _leave(self, process: Process, training: Training) -> None:
        failure = Failure(NODE_LEAVES, f"saved after epoch {training.saved}")
        self._at(1.0, lambda driver: self._lost_if(driver, process, training, failure))

    def _report(self, process: Process, training: Training, row: EpochResult, *, again: bool = False) -> TrialReport:
        metric = self.space.metric
        return TrialReport(
            epoch=row,
            best_value=metric.value(training.best) if training.best is not None else float("nan"),
            finished=training.epoch == training.planned.config.epochs,
            saved=training.saved,
            again=again,
            started=training.started,
            pid=process.pid,
            node=process.node.name,
        )

    def _send(self, driver: Driver, process: Process, training: Training, report: TrialReport) -> None:
        drawn = self.world.rng.random()
        if drawn < 0.9:
            self._deliver(driver, process, training, report)
            return
        late = 10 * (drawn - 0.9) * self.world.plan.late_s
        self._at(late, lambda driver: self._deliver(driver, process, training, report))

    def _deliver(self, driver: Driver, process: Process, training: Training, report: TrialReport) -> None:
        node, name = process.node, training.planned.name
        if process.given_up or process.training is not training or not (process.alive and node.alive):
            return
        if node.silent_until > self.world.now:  # it arrives when the node speaks again
            self._at(
                node.silent_until - self.world.now + 0.01,
                lambda driver: self._deliver(driver, process, training, report),
            )
            return
        if self.world.show is not None:
            self.world.say(f"{name} reports {_words(report)}")
        training.has_reported = report.failure is None
        last = self.world.last_reports.setdefault(name, [])
        last.append(report)
        del last[:-AGAIN]
        if self.world.faults and self.world.copies.random() < COPIED:
            self._at(self.world.copies.uniform(0, 3 * self.world.plan.epoch_s), partial(self._once_more, name=name))
        stops = driver.reported(name, report)
        if report.failure is not None or report.finished or stops:
            self.world.point("between a last report and the end")
            driver.completed(name)
            self.world.say(f"{name} ends")
            if report.failure is None:
                with suppress(OSError):
                    self._write_best(training)
            process.training = None
            self.idle.append(process)
        else:
            self._next_epoch(process, training)

    # Faults.

    def _once_more(self, driver: Driver, name: str) -> None:
        """Lets one of a trial's last reports arrive again, also after later ones."""
        report = self.world.copies.choice(self.world.last_reports[name])
        self.world.say(f"a report of {name} arrives once more: {_words(report)}")
        driver.reported(name, report)

    def _draw_fault(self) -> None:
        world = self.world
        if world.faults and world.plan.fault_every_s:
            self._at(world.rng.expovariate(1 / world.plan.fault_every_s), self._fault)

    def _fault(self, driver: Driver) -> None:
        world = self.world
        self._draw_fault()
        kind = world.rng.choice(FAULTS)
        node = world.rng.choice(world.nodes)
        processes = [process for process in self.processes if self._works(process)]
        busy = [process for process in processes if process.training is not None]
        match kind:
            case "process dies" if processes:
                self._kill(driver, world.rng.choice(processes))
            case "memory" if busy:
                process = world.rng.choice(busy)
                process.alive = False
                world.say(f"process {process.pid} is killed, since memory is short")
                killed = Failure(OUT_OF_MEMORY, "killed")
                self._at(0.5, partial(self._lost_if, process=process, training=process.training, failure=killed))
            case "node dies" if node.alive:
                self.node_dies(node)
            case "silence" if node.alive:
                self._silence(node)
            case "notice" if node.alive and not node.leaving:
                world.say(f"{node.name} is given notice")
                node.leaving = True
                self._later(world.rng.uniform(30, 300), "_dies_after_notice", node)
            case "wall clock":
                world.wall_offset += world.rng.uniform(-1e5, 1e5)
                world.say("the wall clock is set")
            case "others":
                self._take(node, world.rng.randint(0, max(0, node.places - 1)))
                world.say(f"another sweep takes {node.others} places of {node.name}")
                self._later(world.rng.uniform(60, 600), "_others_leave", node)
            case "ctrl-c" if not driver.interrupted:
                world.say("Ctrl-C")
                driver.interrupt()
            case "stale report" if world.last_reports:
                self._once_more(driver, world.rng.choice(sorted(world.last_reports)))
            case "disk full":
                world.say("the disk is full")
                world.disk_full = True

    def _take(self, node: Node, places: int) -> None:
        node.others, self._room = places, None

    def _kill(self, driver: Driver, process: Process) -> None:
        process.alive = False
        self.world.say(f"process {process.pid} dies")
        if process.training is None:
            if self.world.rng.random() < 0.5:
                self._give_up_process(process)
            return
        training, failure = process.training, Failure(PROCESS_DIED, "The actor died unexpectedly")
        self._at(self.world.rng.uniform(0, 3), lambda driver: self._lost_if(driver, process, training, failure))

    def _lost_if(self, driver: Driver, process: Process, training: Training | None, failure: Failure) -> None:
        if process.training is training and not process.given_up:
            self._lost(driver, process, failure)

    def _lost(self, driver: Driver, process: Process, failure: Failure) -> None:
        """Tells the driver that the process of a trial is gone. Nothing that it still does is heard of."""
        training = process.training
        self._give_up_process(process)
        if training is None:
            return
        self.world.say(f"{training.planned.name} has lost its process {process.pid}: {failure}")
        driver.failed(training.planned.name, failure)

    def node_dies(self, node: Node) -> None:
        node.alive, node.leaving = False, False
        self.world.say(f"{node.name} dies")
        self._later(self.world.rng.uniform(0, DECLARED_DEAD_S), "_give_up", node)
        self._later(self.world.rng.uniform(2 * DECLARED_DEAD_S, 1800), "_node_returns", node)

    def _silence(self, node: Node) -> None:
        length = self.world.rng.choice([0.3, 0.9, 3.0]) * DECLARED_DEAD_S
        self.world.say(f"{node.name} falls silent for {length:.0f} s")
        node.silent_until = self.world.now + length
        if length > DECLARED_DEAD_S:
            self._later(DECLARED_DEAD_S, "_give_up", node)
            self._later(length, "_node_returns", node)

    def _dies_after_notice(self, driver: Driver, node: Node) -> None:
        if node.alive:
            self.node_dies(node)

    def _others_leave(self, driver: Driver, node: Node) -> None:
        self._take(node, 0)

    def _give_up(self, driver: Driver, node: Node) -> None:
        if not node.listed:
            return
        node.listed, self._room = False, None
        self.world.say(f"the cluster gives {node.name} up")
        for process in [p for p in self.processes if p.node is node]:
            self._lost(driver, process, Failure(PROCESS_DIED, f"{node.name} is gone"))

    def _node_returns(self, driver: Driver, node: Node) -> None:
        """A node comes back empty: what still ran there is ended."""
        for process in [p for p in self.processes if p.node is node]:
            process.alive = False
            self._lost(driver, process, Failure(PROCESS_DIED, f"{node.name} has started anew"))
        node.alive = node.listed = True
        node.leaving, node.silent_until, self._room = False, 0.0, None
        self.world.say(f"{node.name} is back")

    def _later(self, delay: float, method: str, node: Node) -> None:
        """Lets something happen to a node, even if another part of the sweep runs then."""
        one = (self.world.now + delay, method, node)
        self.world.to_come.append(one)
        self._await(one)

    def _await(self, one: tuple[float, str, Node]) -> None:
        due, method, node = one

        def happens(driver: Driver) -> None:
            self.world.to_come.remove(one)
            getattr(self, method)(driver, node)

        self._at(due - self.world.now, happens)

    def _at(self, delay: float, happens: Callable[[Driver], Any]) -> None:
        heapq.heappush(self._queue, (self.world.now + delay, next(self._order), happens))

    def _advance(self, due: float, ledger: Ledger) -> None:
        world, held = self.world, ledger.n_placed
        seconds = max(0.0, due - world.now)
        world.now += seconds
        world.held_s[ledger.part] += seconds if held else 0.0
        world.gpu_s[ledger.part] += seconds * held * self.space.trial.gpus_each


def could_begin(ledger: Ledger) -> bool:
    """Returns whether the ledger has a trial that could start now."""
    left = ledger.source.total - ledger.n_ended - ledger.n_running
    return bool(ledger.n_waiting) or (left > 0 and not ledger.source.enough) or ledger.wants_place


def between_sessions(world: World) -> None:
    """What happens when a driver has ended: its processes end with it, room is made, machines come back."""
    world.disk_full = False
    world.to_come.clear()
    for part in world.lost_s:
        world.lost_s[part] += world.now - world.recorded
    world.now += world.rng.uniform(1, 600)
    for node in world.nodes:
        node.alive = node.listed = True
        node.leaving, node.silent_until, node.others = False, 0.0, 0


def _words(report: TrialReport) -> str:
    if report.failure is not None:
        return f"a failure: {report.failure}"
    assert report.epoch is not None
    more = [word for word in ("again", "finished") if getattr(report, word)]
    return f"epoch {report.epoch.epoch}, best {report.best_value:.4f}, saved {report.saved} {' '.join(more)}".rstrip()
