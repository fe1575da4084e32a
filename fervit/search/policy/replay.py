"""Another sampler or scheduler on the curves of a sweep that has been run: what it would have found, without training.

A configuration that is asked for gets the curve of the nearest recorded one that has not been given away yet: to ask
for
the same again is to see another draw of its noise, as in a real sweep. The replay ends when its budget is spent or all
curves are. Trials run side by side in simulated time, by the seconds that their epochs took.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from fervit.errors import UserError
from fervit.search.policy.sampler import Outcome, SpaceSampler
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.history import History
from fervit.search.records.journal import FILE, read_journal
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SPACE_FILE
from fervit.search.space.coordinates import coordinates
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import check_search, parse_space

Told = Literal["fervit", "optunasearch"]
"""What the sampler hears: of fervit, each epoch's best value so far, and PRUNED for what was stopped; of Ray's
OptunaSearch, each epoch's value but the last, and COMPLETE with the last value for all."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The curves of a sweep's trials that ran to their end."""

    space: SearchSpace
    trials: list[TrialRecord]
    points: np.ndarray
    """float64 [trials, coordinates]: the configurations as `gain.coordinates` writes them."""
    left_out: int
    """Trials that were stopped or failed, whose curves say too little."""

    @property
    def epochs(self) -> int:
        return sum(len(record.epochs) for record in self.trials)

    def nearest(self, params: dict[str, Any], given: Sequence[int]) -> int:
        """The recorded trial nearest to `params` but for those that are given away."""
        distances = ((self.points - np.array(coordinates(self.space, params))) ** 2).sum(axis=1)
        distances[list(given)] = np.inf
        return int(distances.argmin())


def read_recording(folder: Path) -> Recording:
    """The recording in a sweep's folder.

    Raises:
        UserError: there is none, or fewer than two of its trials ran to their end.
    """
    try:
        raw = yaml.safe_load((folder / SPACE_FILE).read_text(encoding="utf-8"))
        records = History(read_journal(folder / FILE)).records.values()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: holds no {SPACE_FILE} and {FILE}; give the folder of a sweep") from None
    space = parse_space(raw, str(folder / SPACE_FILE))
    searched = [record for record in records if record.purpose == "search"]
    whole = [record for record in searched if record.state == "finished"]
    if len(whole) < 2:
        raise UserError(
            f"{folder}: {len(whole)} of {len(searched)} trials ran to their end; record a sweep with --set "
            "early_stopping.scheduler=none"
        )
    points = np.array([coordinates(space, record.params) for record in whole])
    return Recording(space=space, trials=whole, points=points, left_out=len(searched) - len(whole))


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What one replay came to."""

    best: float
    """Value of the metric."""
    trials: int
    stopped: int
    epochs: int


def replay(
    recording: Recording,
    *,
    sampler: str,
    scheduler: str,
    seed: int,
    epochs: int,
    slots: int = 2,
    told: Told = "fervit",
) -> Replayed:
    """Searches the recording until so many epochs are spent.

    Args:
        recording: the curves.
        sampler: as in a space file.
        scheduler: as in a space file; its epochs are those of the recording's space.
        seed: of the sampler.
        epochs: the budget, over all trials.
        slots: trials at once.
        told: what the sampler hears of stopped trials.

    Raises:
        UserError: the sampler cannot search this space.
    """
    given = recording.space
    search = replace(given.search, sampler=sampler, seed=seed, warm_start=[])  # type: ignore[arg-type]
    stopping = replace(given.early_stopping, scheduler=scheduler)  # type: ignore[arg-type]
    metric = replace(given.metric, against=None)
    space = replace(given, metric=metric, search=search, early_stopping=stopping)
    check_search(space, f"replay with {sampler}")
    source, rule = SpaceSampler(space), stopping_rule(stopping, metric)
    running: list[tuple[float, int, TrialRecord, Sequence[dict[str, Any]]]] = []
    best_of: dict[int, float] = {}
    given_away: list[int] = []
    spent = stopped = 0

    def begin(now: float) -> None:
        if len(given_away) < min(source.size, len(recording.trials)):
            number, params = source.ask()
            given_away.append(recording.nearest(params, given_away))
            curve = recording.trials[given_away[-1]].epochs
            warmup = space.config(params).warmup_epochs
            record = TrialRecord(number=number, name=str(number), seed=seed, params=params, warmup_epochs=warmup)
            heapq.heappush(running, (now + curve[0]["seconds"], number, record, curve))

    for _ in range(slots):
        begin(0.0)
    while running and spent < epochs:
        now, number, record, curve = heapq.heappop(running)
        row = curve[len(record.epochs)]
        record.epochs.append(row)
        spent += 1
        value = row[metric.name]
        if metric.better(value, best_of.get(number)):
            best_of[number] = value
        ended = len(record.epochs) == len(curve)
        stops = rule.stops(record, best_of[number], value) and not ended
        stopped += stops
        if told == "fervit":
            source.report(number, row["epoch"], best_of[number])
        elif not (stops or ended):  # the report that ends a trial is never forwarded
            source.report(number, row["epoch"], value)
        if told == "optunasearch" and (stops or ended):
            source.tell(number, Outcome.FINISHED, value)
        elif ended:
            source.tell(number, Outcome.FINISHED, best_of[number])
        elif stops:
            source.tell(number, Outcome.STOPPED)
        else:
            heapq.heappush(running, (now + curve[len(record.epochs)]["seconds"], number, record, curve))
            continue
        begin(now)
    values = best_of.values()
    best = max(values) if metric.goal == "maximize" else min(values)
    return Replayed(best=best, trials=len(best_of), stopped=stopped, epochs=spent)
