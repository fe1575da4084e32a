"""Runs a whole sweep: search, confirmation, choice, export, and one evaluation.

Each step continues from the work of earlier sessions.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ray import tune

from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint
from fervit.checkpoints.export import CARD_FILE, export
from fervit.cluster.nodes import Cluster
from fervit.errors import JobError
from fervit.evaluation.evaluate import evaluate
from fervit.files import JsonObject, write_text
from fervit.latents.source import find_faces
from fervit.progress import Say
from fervit.runs.environment import environment
from fervit.search.console.live import PlainScreen
from fervit.search.ledger import Ledger, Observer
from fervit.search.opening import open_ledger, open_search
from fervit.search.outcome.confirm import Confirmed, choose, confirmations
from fervit.search.outcome.leaderboard import write_leaderboard
from fervit.search.outcome.result import SweepResult
from fervit.search.outcome.sealed import Verdict, open_test
from fervit.search.outcome.sweep_card import model_card
from fervit.search.policy.sources import ConfirmSource
from fervit.search.records.ranking import failures_by_kind, pareto_front, ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.settings import TrialResources
from fervit.search.splits import Splits
from fervit.search.workers.trial import LatentTrial
from fervit.search.workers.tuner import run_trials, spent
from fervit.search.workers.worker_group import SharedLatents


def run_sweep(
    space: SearchSpace,
    splits: Splits,
    resources: TrialResources,
    folder: Path,
    cluster: Cluster,
    say: Say,
    *,
    observers: Sequence[Observer] | None = None,
    second_look: bool = False,
    trainable: type[tune.Trainable] = LatentTrial,
) -> SweepResult:
    """Runs a new sweep to its end, or continues one that an earlier session began.

    Args:
        space: the search space.
        splits: the latents of the sweep.
        resources: the resources of a trial, as `preflight.placeable` returns them.
        folder: the absolute path of the sweep's folder, which gets all files.
        cluster: the Ray cluster that this process is connected to.
        say: prints a line for the user.
        observers: the observers of the sweep; None prints a line for each trial that ends.
        second_look: opens the test split again if the choice has changed since it was opened.
        trainable: the Trainable class that runs a trial.

    Raises:
        JobError: no trial finished.
        KeyboardInterrupt: the user pressed Ctrl-C. The same command continues the sweep.
    """
    files = SweepFolder(folder)
    files.write_environment(_environment(space, splits, cluster))
    files.write_space(space)
    ledger = open_ledger(space, files, [PlainScreen(say)] if observers is None else observers)
    try:
        sweep = _Sweep(ledger, files, SharedLatents.put(splits.train, splits.val), resources, say)
        choice = sweep.search_and_choose(trainable)
        checkpoint = sweep.export(choice)
        # The choice is final here, so the test split may be opened, once.
        verdict = _evaluate(files, splits, checkpoint, choice.chosen, again=second_look)
        for remark in verdict.evaluation.remarks:
            say(remark)
        records = sweep.searched()
        result = SweepResult(
            folder=folder,
            space=space,
            records=records,
            chosen=choice.chosen,
            confirmed=choice.confirmed,
            ties=choice.ties,
            front=pareto_front(records, space.metric),
            ended_because=choice.ended_because,
            verdict=verdict,
            encoder=splits.train.encoder.to_json(),
            seconds=ledger.elapsed_seconds(),
        )
        write_text(files.best / CARD_FILE, model_card(result, checkpoint))
        ledger.done()
    finally:
        ledger.close()
    return result


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """The result of the search and its confirmation."""

    chosen: TrialRecord
    """The run whose model is exported."""
    confirmed: list[Confirmed]
    ties: list[Confirmed]
    ended_because: str


@dataclass(frozen=True)
class _Sweep:
    """The steps of a sweep. They share its ledger, its files and its latents."""

    ledger: Ledger
    files: SweepFolder
    latents: SharedLatents
    resources: TrialResources
    say: Say

    @property
    def space(self) -> SearchSpace:
        return self.ledger.space

    def searched(self) -> list[TrialRecord]:
        """Returns the trials of the search, without the reruns of the confirmation."""
        return [record for record in self.ledger.records if record.purpose == "search"]

    def search_and_choose(self, trainable: type[tune.Trainable]) -> _Choice:
        """Runs the search and the confirmation, and writes the leaderboard, even after an exception.

        Raises:
            JobError: no trial finished.
            KeyboardInterrupt: the user pressed Ctrl-C.
        """
        try:
            ended_because = self._search(trainable)
            ranking = ranked(self.searched(), self.space.metric)
            if not ranking:
                raise self._nothing_finished()
            confirmed = self._confirm(ranking[: self.space.confirm.top])
            choice = self._choose(ranking[0], confirmed, ended_because)
        except BaseException as error:
            write_leaderboard(self.ledger.records, self.space, self.files.leaderboard)
            if isinstance(error, JobError):
                self.ledger.done()
            raise
        self.ledger.choose(
            choice.chosen,
            confirmed=[one.record.number for one in confirmed],
            ties=[one.record.number for one in choice.ties],
        )
        write_leaderboard(self.ledger.records, self.space, self.files.leaderboard, confirmed, choice.chosen)
        return choice

    def export(self, choice: _Choice) -> Checkpoint:
        """Exports the chosen model to best/.

        After a confirmation, only the best model of each confirmed configuration is kept beside it.
        """
        checkpoint = load_checkpoint(self.files.trial(choice.chosen.name).best_model)
        export(checkpoint, self.files.best)
        kept = {self._runs(one.record.number)[0].name for one in choice.confirmed}
        if kept:
            for record in self.ledger.records:
                if record.name not in kept:
                    shutil.rmtree(self.files.trial(record.name).path, ignore_errors=True)
        return checkpoint

    def _search(self, trainable: type[tune.Trainable]) -> str:
        """Runs the search and returns why it ended early; "" if it ran all its trials."""
        source = open_search(self.space, self.files, self.ledger)
        run_trials(self.ledger, self.files, self.latents, self.resources, name="trials", trainable=trainable)
        return source.enough or self._budget_spent()

    def _budget_spent(self) -> str:
        budget, begun, trials = self.space.budget, len(self.searched()), self.space.search.trials
        gpus = self.resources.gpus * self.resources.workers
        over = spent(budget, self.ledger.elapsed_seconds(), gpus * self.ledger.spent_seconds())
        if not over or begun >= trials:
            return ""
        limits = [
            f"{value:g} {name}" for name, value in (("hours", budget.hours), ("GPU-hours", budget.gpu_hours)) if value
        ]
        return f"the budget of {' and '.join(limits)} is spent after {begun} of {trials} trials"

    def _nothing_finished(self) -> JobError:
        kinds = ", ".join(f"{n} x {kind}" for kind, n in failures_by_kind(self.searched()).items())
        return JobError(
            f"no trial finished ({kinds or 'the budget ended before the first epoch'}); {self.files.path} has "
            f"{self.files.leaderboard.name} and {self.files.failures.name}"
        )

    def _confirm(self, best: Sequence[TrialRecord]) -> list[Confirmed]:
        """Trains each of the best configurations again with fresh seeds, without early stopping."""
        if not best:
            return []
        self.ledger.use(ConfirmSource(self.space, best, self.ledger.records))
        if not self.ledger.complete:
            self.say(f"confirming the best {len(best)} with {self.space.confirm.seeds} fresh seeds each")
        run_trials(self.ledger, self.files, self.latents, self.resources, name="confirm")
        return confirmations(best, self.ledger.records, self.space.metric)

    def _choose(self, leading: TrialRecord, confirmed: list[Confirmed], ended_because: str) -> _Choice:
        """Chooses the run to export, and finds the configurations that tie with it."""
        ties: list[Confirmed] = []
        if confirmed:
            winner, ties = choose(confirmed, self.space.metric)
            leading = winner.record
        chosen = self._runs(leading.number)[0]
        return _Choice(chosen=chosen, confirmed=confirmed, ties=ties, ended_because=ended_because)

    def _runs(self, number: int) -> list[TrialRecord]:
        """Returns the runs of a configuration whose models are still on disk, best first."""
        runs = [record for record in self.ledger.records if record.number == number]
        return ranked((r for r in runs if self.files.trial(r.name).best_model.is_file()), self.space.metric)


def _evaluate(
    files: SweepFolder, splits: Splits, checkpoint: Checkpoint, chosen: TrialRecord, *, again: bool
) -> Verdict:
    """Evaluates the model on the test split, or on the validation split if there is no test split."""
    if splits.test is not None:
        return open_test(files, checkpoint, chosen, splits.test, splits.train, again=again)
    evaluation = evaluate(
        checkpoint,
        splits.val,
        files.evaluation(),
        split="val",
        training_sha256=splits.train.sha256,
        faces=find_faces(splits.val),
    )
    return Verdict(evaluation=evaluation, looks=0)


def _environment(space: SearchSpace, splits: Splits, cluster: Cluster) -> JsonObject:
    train, val = splits.train, splits.val
    fingerprints = {"train": train.fingerprint, "val": val.fingerprint}
    return environment(cluster, space.search.seed, train, val, fingerprints)
