"""What holds at every moment of every sweep, whatever fails."""

from __future__ import annotations

import shutil
from collections import Counter

from fervit.search.driver import LOOK_S, Driver
from fervit.search.forecast import most_files
from fervit.search.ledger import Ledger
from fervit.search.outcome.confirm import baseline_that_may_stay, candidates, choose, confirmations
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.records.epochs import Epochs
from fervit.search.records.events import (
    EpochEnded,
    Event,
    ModelChosen,
    ProcessLost,
    SessionBegan,
    TrialEnded,
    TrialPaused,
    TrialResumed,
    TrialReturned,
    TrialStarted,
    TrialWentOn,
)
from fervit.search.records.history import History
from fervit.search.records.journal import JournalReader
from fervit.search.records.ranking import ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from tests.simulation.machines import Machines, World, could_begin
from tests.simulation.plan import FACES

IDLE_S = 3 * (LOOK_S + 1) + 20
"""The seconds for which a place may be free while a trial waits.

Places are looked at every `LOOK_S` seconds, by a loop that turns once a second; those that the sweep held before the
last look but one still count as its own (`Room`), so that it takes three looks until all that has changed is known.
Then a process starts, which takes up to 20 s here.

The bound does not run while a trial starts on a node that is silent or dead, which nobody knows until the cluster gives
the node up (`DECLARED_DEAD_S`): as many trials as start there are not planned elsewhere meanwhile. They cannot be told
from trials that wait for the places of another sweep, for which nothing is planned ahead.
"""
MODEL, STATE = 1, 5
"""The sizes of a model and of a saved state, as `forecast` takes them: weights, moments and the best weights."""


class ViolationError(AssertionError):
    """Something that always holds does not."""


class Watch:
    """Looks at a sweep after each step.

    Args:
        world: the world of the sweep.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._idle_since: float | None = None
        self._awaited = False
        self._was_over = ""

    def begins(self, ledger: Ledger) -> None:
        """Notes that a part begins, in this session.

        Raises:
            ViolationError: the ledger knows of another time that trials held places than the machines.
        """
        self._idle_since, self._was_over, world, part = None, "", self._world, ledger.part
        pairs = ((world.held_s, ledger.held_seconds(part)), (world.gpu_s, ledger.gpu_seconds(part)))
        for ours, theirs in pairs:
            if not -1.0 <= ours[part] - theirs <= world.most_places * world.lost_s[part] + 1.0:
                raise ViolationError(f"trials held places for {ours[part]:.1f} s, but the ledger has {theirs:.1f} s")
            ours[part] = theirs
        world.lost_s[part] = 0.0

    def __call__(self, machines: Machines, driver: Driver) -> None:
        """Checks what can be seen while trials run.

        Raises:
            ViolationError: a place is idle while work waits, a budget is overdrawn, or the disk holds too much.
        """
        self._check_places(machines, driver)
        self._check_budget(driver)
        if self._world.steps % 16 == 0:
            self._check_disk(driver)

    def _check_places(self, machines: Machines, driver: Driver) -> None:
        now, ledger = self._world.now, driver.ledger
        running = machines.n_busy
        free = machines.look()[1] + sum(process.node.listed for process in machines.idle)
        most = machines.space.search.max_concurrent_trials
        waits = bool(machines.pending) or could_begin(ledger)
        if most is not None and running >= most:
            waits = False
        awaited, self._awaited = self._awaited, self._somebody_is_awaited(machines)
        if not free or not waits or driver.ending or awaited:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > IDLE_S:
            raise ViolationError(f"{free} places are idle for {now - self._idle_since:.0f} s while work waits")
        places = sum(node.places for node in self._world.nodes)
        if running > places:
            raise ViolationError(f"{running} trials run in {places} places")

    def _somebody_is_awaited(self, machines: Machines) -> bool:
        """Whether a trial starts on a node that has fallen silent or died, and that the cluster has not given up.

        Such trials count as starting, and no further ones are planned beyond the places that the sweep held lately.
        """
        now = self._world.now
        awaited = [one for one in self._world.nodes if one.listed and (not one.alive or one.silent_until > now)]
        return any(process.node is node for node in awaited for process in machines.processes)

    def _check_budget(self, driver: Driver) -> None:
        """Checks that nothing runs on once a limit is exceeded: the driver has been asked since."""
        part, space = driver.ledger.part, driver.ledger.space
        hours, gpu_hours = (
            (space.confirm.hours, None)
            if part == "confirm"
            else (
                space.budget.hours,
                space.budget.gpu_hours,
            )
        )
        if self._was_over and not driver.interrupted:
            raise ViolationError(self._was_over)
        for spent, limit in ((self._world.held_s[part], hours), (self._world.gpu_s[part], gpu_hours)):
            if limit is not None and spent > 3600 * limit + 1 and not driver.ledger.complete:
                self._was_over = f"the budget of {limit:g} hours was exceeded, and trials ran on"

    def _check_disk(self, driver: Driver) -> None:
        size = 0
        for path in self._world.folder.checkpoints.glob("*/*"):
            size += MODEL if path.name == "best_model.pt" else STATE
        # The forecast knows neither of trials that have begun and wait for a place (until they can run alone, or since
        # places were lost), nor of those that a budget cut, nor of what an earlier session confirmed.
        ledger = driver.ledger
        begun = sum(record.state == "running" and not record.paused for record in ledger.records)
        unknown = max(0, begun - self._world.most_places) + sum(record.cut for record in ledger.records)
        unknown += len({record.number for record in ledger.records if record.purpose == "confirm"})  # when it goes on
        models, states = most_files(ledger.space, self._world.most_places)
        most = MODEL * (models + unknown) + STATE * (states + unknown)
        if size > most:
            raise ViolationError(f"the checkpoints take {size} units, where the forecast is {most}")


def check_session(ledger: Ledger, events: list[Event]) -> None:
    """Checks that what a session had in memory is what the next one reads.

    Raises:
        ViolationError: it is not.
    """
    known = {record.name: _plain(record) for record in ledger.records}
    for written in (events, events[:-1]):  # the driver may have been killed before it took in the last line
        read = {name: _plain(record) for name, record in History(written).records.items()}
        if known == read:
            return
    differ = [name for name in read if read[name] != known.get(name)]
    raise ViolationError(f"the session and its journal differ in {differ}")


def _plain(record: TrialRecord) -> dict[str, object]:
    assert isinstance(record.epochs, Epochs)
    # The failure that a trial has reported is recorded at its end; until then a restart would try it again.
    failure = str(record.failure or "") if record.state != "running" else ""
    return {**vars(record), "epochs": record.epochs._numbers, "failure": failure}


def check_journal(events: list[Event], settled: list[tuple[str, int]]) -> None:
    """Checks the order of the events: each trial ends once, and no epoch is told twice.

    Args:
        events: the events of all sessions.
        settled: the name and the epoch of each row that was taken from a model on disk.

    Raises:
        ViolationError: the order is broken.
    """
    running: set[str] = set()
    paused: set[str] = set()
    ended: dict[str, TrialEnded] = {}
    last: dict[str, int] = {}
    may_repeat: set[str] = set()
    left = Counter(settled)
    for event in events:
        if isinstance(event, SessionBegan):
            may_repeat |= set(last)
        elif isinstance(event, TrialStarted):
            if event.name in running or (event.name in ended and ended[event.name].state != "stopped"):
                raise ViolationError(f"{event.name} starts again")
            running.add(event.name)
            last.pop(event.name, None)
        elif isinstance(event, TrialResumed):
            if event.name in running or not ended[event.name].cut:
                raise ViolationError(f"{event.name} is resumed, but was not cut")
            running.add(event.name)
            may_repeat.add(event.name)
        elif isinstance(event, TrialPaused):
            if event.name not in running or event.name in paused or event.epoch != last.get(event.name, 0):
                raise ViolationError(f"{event.name} pauses after epoch {event.epoch}")
            paused.add(event.name)
        elif isinstance(event, TrialReturned):
            if event.name not in paused:
                raise ViolationError(f"{event.name} goes on, but was not paused")
            paused.discard(event.name)
            may_repeat.add(event.name)
        elif isinstance(event, ProcessLost):
            may_repeat.add(event.name)
        elif isinstance(event, TrialWentOn):
            if event.name not in may_repeat:
                raise ViolationError(f"{event.name} goes on after epoch {event.epoch}, but has lost no process")
            may_repeat.discard(event.name)
            last[event.name] = event.epoch
        elif isinstance(event, EpochEnded):
            epoch = event.row.epoch
            if left[(event.name, epoch)] and (event.name not in running or epoch <= last.get(event.name, 0)):
                left[(event.name, epoch)] -= 1
            elif event.name not in running or event.name in paused:
                raise ViolationError(f"{event.name} reports epoch {epoch} after its end or in a pause")
            elif epoch <= last.get(event.name, 0) and event.name not in may_repeat:
                raise ViolationError(f"{event.name} is told epoch {epoch} after epoch {last[event.name]}")
            elif epoch > last.get(event.name, 0) + 1 and event.name not in may_repeat:
                raise ViolationError(f"{event.name} is told epoch {epoch} after epoch {last.get(event.name, 0)}")
            may_repeat.discard(event.name)
            last[event.name] = epoch
        elif isinstance(event, TrialEnded):
            if event.name not in running:
                raise ViolationError(f"{event.name} ends twice")
            running.discard(event.name)
            paused -= set() if event.cut else {event.name}
            ended[event.name] = event


def check_end(world: World, space: SearchSpace, events: list[Event]) -> None:
    """Checks a sweep that has ended.

    Raises:
        ViolationError: a trial is missing or has not ended, or the choice is not what the journal says.
    """
    history = History(events)
    records = sorted(history.records.values(), key=lambda record: (record.number, record.seed))
    unfinished = [record.name for record in records if record.state == "running"]
    if unfinished:
        raise ViolationError(f"{unfinished} have not ended")
    searched = [record for record in records if record.purpose == "search"]
    if [record.number for record in searched] != list(range(len(searched))):
        raise ViolationError(f"the numbers of the trials are {[record.number for record in searched]}")
    total = min(space.search.trials, SpaceSampler(space).size)
    if "search" not in history.ends and len(searched) < total:
        raise ViolationError(f"only {len(searched)} of {total} trials have run, and nothing says why")
    for record in records:
        epochs = [row.epoch for row in record.epochs]
        if epochs != sorted(set(epochs)):
            raise ViolationError(f"{record.name} has the epochs {epochs}")
    check_study(space, world.folder)
    if history.choice is not None and ranked(searched, space.metric):  # else a trial that went on has diverged since
        check_choice(space, [record for record in records if record.purpose != "fold"], history.choice, world.folder)
        check_folds(space, records, history)


def check_folds(space: SearchSpace, records: list[TrialRecord], history: History) -> None:
    """Checks that the chosen configuration has a run of each fold.

    Raises:
        ViolationError: one is missing, and nothing says why.
    """
    assert history.choice is not None
    wanted = set(range(1, space.confirm.folds + 1))
    mine = [record for record in records if record.purpose == "fold" and record.number == history.choice.number]
    have = {record.fold for record in mine if record.folds == space.confirm.folds and not record.cut}
    if have != wanted and "confirm" not in history.ends:
        raise ViolationError(f"the folds {sorted(have)} have run, of {sorted(wanted)}")


def check_study(space: SearchSpace, files: SweepFolder) -> None:
    """Checks that the next suggestion is the same whether the study is that of the sweep or made from its journal.

    Raises:
        ViolationError: it is another one.
    """
    copy = files.path / "copy.journal"
    shutil.copy(files.study, copy)
    as_it_is = SpaceSampler(space, copy)
    made_again = SpaceSampler(space, None, JournalReader(files.journal))
    if len(as_it_is.trials) < as_it_is.size and (first := as_it_is.ask()) != (second := made_again.ask()):
        raise ViolationError(f"the sampler suggests {first}, but {second} if its study is made from the journal")
    copy.unlink()


def check_choice(space: SearchSpace, records: list[TrialRecord], choice: ModelChosen, files: SweepFolder) -> None:
    """Checks that the choice follows from the journal, and that better runs have no model where the journal says so.

    Raises:
        ViolationError: it does not, or they have.
    """
    if have := [name for name in choice.without_model if files.trial(name).best_model.is_file()]:
        raise ViolationError(f"{have} have a model, but the journal says that they have none")
    searched = [record for record in records if record.purpose == "search"]
    ranking = ranked(searched, space.metric)
    best = candidates(ranking, records, space)
    confirmed = confirmations(best, records, space)
    baseline = baseline_that_may_stay(space, ranking, confirmed)
    number = choose(confirmed, space.metric, baseline, FACES)[0].record.number if confirmed else None
    able = [record for record in records if record.name not in choice.without_model]
    run = ranked([r for r in able if number is None or r.number == number], space.metric)[0]
    row = run.best(space.metric)
    assert row is not None
    expected = (run.number, run.seed, row.epoch)
    if (choice.number, choice.seed, choice.epoch) != expected:
        raise ViolationError(f"chosen is {(choice.number, choice.seed, choice.epoch)}, by the journal it is {expected}")
