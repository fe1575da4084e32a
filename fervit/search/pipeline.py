"""Runs a whole sweep: search, confirmation, choice, export, and one evaluation.

Each step continues from the work of earlier sessions.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ray import tune

from fervit.checkpoints.checkpoint import BEST_MODEL, Checkpoint, load_checkpoint
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
from fervit.search.outcome.confirm import Confirmed, Gain, candidates, choose, confirmations, gain_over_baseline
from fervit.search.outcome.leaderboard import write_leaderboard
from fervit.search.outcome.result import SweepResult
from fervit.search.outcome.sealed import Verdict, open_test
from fervit.search.outcome.settle import agrees, settle
from fervit.search.outcome.sweep_card import model_card
from fervit.search.policy.sources import ConfirmSource
from fervit.search.records.ranking import failures_by_kind, pareto_front, ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import DEFAULTS, SearchSpace
from fervit.search.space.settings import TrialResources
from fervit.search.splits import Splits
from fervit.search.workers.gpu_nodes import GpuNodes
from fervit.search.workers.trial import LatentTrial
from fervit.search.workers.tuner import run_trials
from fervit.search.workers.worker_group import SharedLatents
from fervit.storage import absolute


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
    if splits.exclusion is not None:
        splits.exclusion.write(files.excluded)
    files.write_environment(_environment(space, splits, cluster))
    files.write_space(space)
    ledger = open_ledger(space, files, [PlainScreen(say)] if observers is None else observers)
    try:
        latents = SharedLatents.put(splits.train, splits.val)
        sweep = _Sweep(ledger, files, latents, resources, say, GpuNodes(cluster.unusable, say))
        choice = sweep.search_and_choose(trainable)
        checkpoint = sweep.export(choice)
        # The choice is final here, so the test split may be opened, once.
        verdict = _evaluate(files, splits, choice, sweep.fresh(choice), again=second_look)
        for remark in verdict.evaluation.remarks:
            say(remark)
        result = sweep.result(choice, verdict, splits)
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
    checkpoint: Checkpoint
    """The model of that run, of the run's best epoch."""
    confirmed: list[Confirmed]
    ties: list[Confirmed]
    left_out: list[TrialRecord]
    """The trials that were to be confirmed but have no finished rerun."""
    gain: Gain | None
    """The comparison with the baseline; None if the baseline is chosen itself or was not confirmed."""
    ended_because: str


@dataclass(frozen=True)
class _Sweep:
    """The steps of a sweep. They share its ledger, its files and its latents."""

    ledger: Ledger
    files: SweepFolder
    latents: SharedLatents
    resources: TrialResources
    say: Say
    gpu_nodes: GpuNodes
    unusable: set[str] = field(default_factory=set)
    """The names of runs whose models cannot be exported."""

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
            if not ranked(self.searched(), self.space.metric):
                raise self._nothing_finished()
            self._confirm()
            choice = self._choose(ended_because)
        except BaseException as error:
            self._write_standing()
            if isinstance(error, JobError):
                self.ledger.done()
            raise
        self.ledger.choose(
            choice.chosen,
            confirmed=[one.record.number for one in choice.confirmed],
            ties=[one.record.number for one in choice.ties],
            left_out=[record.number for record in choice.left_out],
        )
        write_leaderboard(self.ledger.records, self.space, self.files.leaderboard, choice.confirmed, choice.chosen)
        return choice

    def export(self, choice: _Choice) -> Checkpoint:
        """Exports the chosen model to best/.

        After a confirmation, only the models of the confirmed configurations are kept beside it: the best of each, and
        those with fresh seeds, which the look at the test split evaluates.
        """
        export(choice.checkpoint, self.files.best)
        kept = {choice.chosen.name}
        kept |= {run.name for one in choice.confirmed if (run := self._best_on_disk(one.record.number)) is not None}
        confirmed = {one.record.number for one in choice.confirmed}
        kept |= {run.name for run in self.ledger.records if run.number in confirmed and _is_fresh(run)}
        if choice.confirmed:
            for record in self.ledger.records:
                if record.name not in kept and not record.cut:  # which goes on with a larger budget
                    shutil.rmtree(self.files.trial(record.name).path, ignore_errors=True)
        return choice.checkpoint

    def result(self, choice: _Choice, verdict: Verdict, splits: Splits) -> SweepResult:
        """Returns the result of the sweep."""
        records = self.searched()
        return SweepResult(
            folder=self.files.path,
            space=self.space,
            records=records,
            chosen=choice.chosen,
            confirmed=choice.confirmed,
            ties=choice.ties,
            left_out=choice.left_out,
            gain=choice.gain,
            front=pareto_front(records, self.space.metric),
            ended_because=choice.ended_because,
            confirmation_ended_because=self.ledger.ended_because("confirm"),
            verdict=verdict,
            encoder=splits.train.encoder.to_json(),
            seconds=self.ledger.elapsed_seconds(),
        )

    def fresh(self, choice: _Choice) -> list[TrialRecord]:
        """Returns the finished runs of the chosen configuration with fresh seeds."""
        return [run for run in self.ledger.records if run.number == choice.chosen.number and _is_fresh(run)]

    def _search(self, trainable: type[tune.Trainable]) -> str:
        """Runs the search and returns why it ended early; "" if it ran all its trials."""
        open_search(self.space, self.files, self.ledger)
        run_trials(
            self.ledger,
            self.files,
            self.latents,
            self.resources,
            name="trials",
            trainable=trainable,
            gpu_nodes=self.gpu_nodes,
        )
        return self.ledger.ended_because()

    def _nothing_finished(self) -> JobError:
        kinds = ", ".join(f"{n} x {kind}" for kind, n in failures_by_kind(self.searched()).items())
        return JobError(
            f"no trial finished ({kinds or 'the budget ended before the first epoch'}); {self.files.path} has "
            f"{self.files.leaderboard.name} and {self.files.failures.name}"
        )

    def _write_standing(self) -> None:
        """Writes the leaderboard of a sweep that has not ended. The mark stays at the exported run, if there is one."""
        records, last = self.ledger.records, self.ledger.choice
        exported = [r for r in records if last is not None and (r.number, r.seed) == (last.number, last.seed)]
        confirmed = confirmations(self.searched(), records, self.space.metric)
        write_leaderboard(records, self.space, self.files.leaderboard, confirmed, exported[0] if exported else None)

    def _candidates(self) -> list[TrialRecord]:
        return candidates(ranked(self.searched(), self.space.metric), self.ledger.records, self.space)

    def _confirm(self) -> None:
        """Trains each of the best configurations again with fresh seeds, without early stopping."""
        best = self._candidates()
        if not best:
            return
        self.ledger.use(ConfirmSource(self.space, best, self.ledger.records))
        if not self.ledger.complete:
            self.say(f"confirming {len(best)} configurations with {self.space.confirm.seeds} fresh seeds each")
        run_trials(self.ledger, self.files, self.latents, self.resources, name="confirm", gpu_nodes=self.gpu_nodes)

    def _choose(self, ended_because: str) -> _Choice:
        """Chooses the run to export, and finds the configurations that tie with it.

        The number of a run is that of its model on disk. Where the two differ, the record is settled first, and the
        choice is made again.

        Raises:
            JobError: no model is left.
        """
        metric = self.space.metric
        while True:
            best = self._candidates()
            confirmed = confirmations(best, self.ledger.records, metric)
            left_out = [record for record in best if all(one.record is not record for one in confirmed)]
            if confirmed:
                winner, ties = choose(confirmed, metric)
                run = self._best_on_disk(winner.record.number)
            else:
                ties = []
                run = self._best_on_disk()
            if run is None:
                raise JobError(
                    f"{self.files.checkpoints}: no model of the best configuration is left there to export; copy the "
                    f"folder back, or start a new sweep"
                )
            before = run.best(metric)
            checkpoint = self._model_of(run)
            if checkpoint is not None and run.best(metric) == before:
                return _Choice(
                    chosen=run,
                    checkpoint=checkpoint,
                    confirmed=confirmed,
                    ties=ties,
                    left_out=left_out,
                    gain=gain_over_baseline(self.space, ranked(self.searched(), metric), run.number, confirmed),
                    ended_because=ended_because,
                )

    def _best_on_disk(self, number: int | None = None) -> TrialRecord | None:
        """Returns the best run with a model, of one configuration or of the whole search; None if there is none."""
        runs = [record for record in self.ledger.records if number is None or record.number == number]
        return next((run for run in ranked(runs, self.space.metric) if self._has_model(run)), None)

    def _has_model(self, run: TrialRecord) -> bool:
        return run.name not in self.unusable and (
            self.files.trial(run.name).best_model.is_file() or self._exported(run)
        )

    def _exported(self, run: TrialRecord) -> bool:
        """Returns whether best/ holds the model of a run, whose folder may have been removed since."""
        last = self.ledger.choice
        same = last is not None and (run.number, run.seed) == (last.number, last.seed)
        return same and (self.files.best / BEST_MODEL).is_file()

    def _model_of(self, run: TrialRecord) -> Checkpoint | None:
        """Returns the model of a run after its record has been settled; None if it cannot be used, which is said."""
        if self.files.trial(run.name).best_model.is_file():
            checkpoint = settle(self.ledger, self.files, run)
        else:
            checkpoint = load_checkpoint(self.files.best)
            checkpoint = checkpoint if agrees(run, checkpoint, self.ledger) else None
        if checkpoint is None:
            self.unusable.add(run.name)
            self.say(f"{run.name}: its model is damaged or of another epoch than its record, so it is not chosen")
        return checkpoint


def _is_fresh(run: TrialRecord) -> bool:
    return run.purpose != "search" and run.state == "finished"


def _evaluate(
    files: SweepFolder, splits: Splits, choice: _Choice, fresh: Sequence[TrialRecord], *, again: bool
) -> Verdict:
    """Evaluates the model on the test split, or on the validation split if there is no test split."""
    if splits.test is not None:
        return open_test(files, choice.checkpoint, choice.chosen, splits, fresh, again=again)
    evaluation = evaluate(
        choice.checkpoint,
        splits.val,
        files.evaluation(),
        split="val",
        training_sha256=splits.train.sha256,
        faces=None if splits.no_faces else find_faces(splits.val),
    )
    return Verdict(evaluation=evaluation, looks=0)


def _environment(space: SearchSpace, splits: Splits, cluster: Cluster) -> JsonObject:
    train, val = splits.train, splits.val
    fingerprints = {"train": train.fingerprint, "val": val.fingerprint}
    found = environment(cluster, space.search.seed, train, val, fingerprints)
    if splits.test is not None:
        test = {"path": absolute(splits.test), "rows": splits.test_rows, "sha256": splits.test_fingerprint}
        found["data"]["test"] = test
    # With the space, the defaults are the whole configuration of each trial; another version may have others.
    asked: JsonObject = {} if splits.left_out is None else {"exclude": splits.left_out}
    if splits.no_faces:
        asked["no_faces"] = True
    return {**found, **asked, "copies": dict(splits.copies), "defaults": DEFAULTS}
