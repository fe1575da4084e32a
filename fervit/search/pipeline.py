"""A whole sweep: search, confirm, choose, export, evaluate once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from fervit.cluster import Cluster
from fervit.errors import JobError
from fervit.evaluation.evaluate import Evaluation, evaluate
from fervit.files import write_json, write_text
from fervit.latents import LatentSet
from fervit.search.confirm import Confirmed, choose
from fervit.search.leaderboard import write_leaderboard
from fervit.search.ledger import Ledger, Planned, Say
from fervit.search.preflight import Splits
from fervit.search.sampler import Outcome, SpaceSampler
from fervit.search.selection import TrialRecord, failures_by_kind, ranked
from fervit.search.space import SearchSpace, TrialResources
from fervit.search.sweep import SharedLatents, run_trials
from fervit.training.checkpoint import BEST_MODEL, export, load_checkpoint
from fervit.training.run import environment


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    folder: Path
    space: SearchSpace
    records: list[TrialRecord]
    chosen: TrialRecord
    """The run whose model is exported: of the chosen configuration, the one with the best epoch."""
    confirmed: list[Confirmed]
    """Of the search's best, by their rank; empty where the space asks for no confirmation."""
    ties: list[Confirmed]
    """Trials that the confirmation cannot tell from the chosen one."""
    evaluation: Evaluation
    encoder: dict[str, Any]
    seconds: float


def run_sweep(
    space: SearchSpace, splits: Splits, resources: TrialResources, folder: Path, cluster: Cluster, say: Say
) -> SweepResult:
    """Runs a sweep to its end.

    Args:
        space: what to search.
        splits: the latents.
        resources: what a trial gets, as `preflight.placeable` found it.
        folder: of the sweep, absolute; all its files go there.
        cluster: the Ray that this process is connected to.
        say: prints a line for the user.

    Raises:
        JobError: no trial finished.
    """
    started = time.monotonic()
    _write_environment(space, splits, folder, cluster)
    source = _SearchSource(space, SpaceSampler(space, folder / "study.journal"))
    ledger = Ledger(space, source, folder, keep=max(1, space.confirm.top), say=say)
    latents = SharedLatents.put(splits.train, splits.val)
    try:
        run_trials(ledger, latents, resources, name="trials", early_stopping=True)
    finally:
        records = ledger.records
        write_leaderboard(records, space, folder / "leaderboard.csv")
    ranking = ranked(records, space.metric)
    if not ranking:
        kinds = ", ".join(f"{n} x {kind}" for kind, n in failures_by_kind(records).items())
        raise JobError(
            f"no trial finished ({kinds or 'the budget ended before the first epoch'}); {folder} has "
            "leaderboard.csv and ray.log"
        )

    chosen: TrialRecord = ranking[0]
    ties: list[Confirmed] = []
    reruns, confirmed = _confirm(ranking[: space.confirm.top], space, latents, resources, folder, say)
    if confirmed:
        winner, ties = choose(confirmed, space.metric)
        runs_of_winner = [record for record in [*records, *reruns] if record.number == winner.record.number]
        chosen = ranked(runs_of_winner, space.metric)[0]
    write_leaderboard([*records, *reruns], space, folder / "leaderboard.csv", confirmed, chosen)

    checkpoint = load_checkpoint(ledger.checkpoint_folder(chosen.name) / BEST_MODEL)
    export(checkpoint, folder / "best")
    for rerun in reruns:
        shutil.rmtree(ledger.checkpoint_folder(rerun.name), ignore_errors=True)
    # From here on nothing is chosen any more: the test split is opened, once.
    held_out = splits.val if splits.test is None else LatentSet.read(splits.test)
    evaluation = evaluate(checkpoint, held_out, folder / "evaluation", split="val" if splits.test is None else "test")
    return SweepResult(
        folder=folder,
        space=space,
        records=records,
        chosen=chosen,
        confirmed=confirmed,
        ties=ties,
        evaluation=evaluation,
        encoder=splits.train.encoder,
        seconds=time.monotonic() - started,
    )


def _confirm(
    best: Sequence[TrialRecord],
    space: SearchSpace,
    latents: SharedLatents,
    resources: TrialResources,
    folder: Path,
    say: Say,
) -> tuple[list[TrialRecord], list[Confirmed]]:
    """Trains each of the best configurations again, to the end, with fresh seeds: the reruns, and their values."""
    if not best:
        return [], []
    source = _ConfirmSource(space, best)
    say(f"confirming the best {len(best)} with {space.confirm.seeds} fresh seeds each")
    ledger = Ledger(space, source, folder, keep=source.total, say=say)
    run_trials(ledger, latents, resources, name="confirm", early_stopping=False)
    values: dict[int, list[float]] = {record.number: [] for record in best}
    for rerun in ledger.records:
        row = rerun.best(space.metric)
        if rerun.state == "finished" and row is not None:
            values[rerun.number].append(row[space.metric.name])
    confirmed = [
        Confirmed(record=record, values=tuple(values[record.number])) for record in best if values[record.number]
    ]
    return ledger.records, confirmed


class _SearchSource:
    """Trials from the sampler."""

    def __init__(self, space: SearchSpace, sampler: SpaceSampler) -> None:
        self._space, self._sampler = space, sampler
        self.total = space.search.trials

    def ask(self) -> Planned:
        number, params = self._sampler.ask()
        return Planned(number, _trial_name(number), params, self._space.config(params))

    def report(self, number: int, epoch: int, value: float) -> None:
        self._sampler.report(number, epoch, value)

    def tell(self, number: int, outcome: Outcome, value: float | None) -> None:
        self._sampler.tell(number, outcome, value)


class _ConfirmSource:
    """Each of some trials with each of the fresh seeds."""

    def __init__(self, space: SearchSpace, best: Sequence[TrialRecord]) -> None:
        self._space = space
        self._plan = [(record, space.search.seed + 1 + i) for record in best for i in range(space.confirm.seeds)]
        self._next = 0
        self.total = len(self._plan)

    def ask(self) -> Planned:
        record, seed = self._plan[self._next]
        self._next += 1
        config = replace(self._space.config(record.params), seed=seed)
        return Planned(record.number, f"{_trial_name(record.number)}_seed{seed}", record.params, config)

    def report(self, number: int, epoch: int, value: float) -> None: ...

    def tell(self, number: int, outcome: Outcome, value: float | None) -> None: ...


def _trial_name(number: int) -> str:
    return f"trial_{number:04d}"


def _write_environment(space: SearchSpace, splits: Splits, folder: Path, cluster: Cluster) -> None:
    write_text(folder / "sweep.yaml", yaml.safe_dump(space.to_json(), sort_keys=False))
    train, val = splits.train, splits.val
    fingerprints = {"train": train.fingerprint, "val": val.fingerprint}
    write_json(folder / "environment.json", environment(cluster, space.search.seed, train, val, fingerprints))
