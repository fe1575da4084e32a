"""The steps of a sweep: search, confirmation with fresh seeds, choice, export, folds, test split. Does not use Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint
from fervit.checkpoints.export import CARD_FILE, export
from fervit.checkpoints.places import BEST_MODEL
from fervit.errors import JobError
from fervit.evaluation.evaluate import evaluate
from fervit.evaluation.paired.layers import mean_of
from fervit.io.disk import remove_tree
from fervit.io.files import near, write_text
from fervit.latents.source import find_faces
from fervit.progress import Say, counted
from fervit.search.ledger import Ledger
from fervit.search.opening import open_search
from fervit.search.outcome.confirm import (
    Confirmed,
    Gain,
    baseline_that_may_stay,
    candidates,
    choose,
    confirmations,
    gain_over_baseline,
)
from fervit.search.outcome.folds import Folded, folded
from fervit.search.outcome.leaderboard import write_leaderboard
from fervit.search.outcome.result import SweepResult
from fervit.search.outcome.sealed import Verdict, open_test
from fervit.search.outcome.settle import agrees, settle
from fervit.search.outcome.simple import simple_models
from fervit.search.outcome.sweep_card import model_card
from fervit.search.policy.sources import ConfirmSource, FoldSource
from fervit.search.records.ranking import failures_by_kind, pareto_front, ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from fervit.search.splits import Splits
from fervit.system.program import called
from fervit.system.side_channels import SideChannel


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
    without_model: list[str]
    """The names of the better runs without a model that can be exported."""
    gain: Gain | None
    """The comparison with the baseline; None if the baseline is chosen itself or was not confirmed."""
    ended_because: str


@dataclass(frozen=True)
class Sweep:
    """The steps of a sweep. They share its ledger, its files and its backend."""

    ledger: Ledger
    files: SweepFolder
    splits: Splits
    run_trials: Callable[[], None]
    """Runs all trials of the ledger's source, through a `Driver`."""
    say: Say
    unusable: set[str] = field(default_factory=set)
    """The names of runs whose models cannot be exported."""

    @property
    def space(self) -> SearchSpace:
        """The search space of the sweep."""
        return self.ledger.space

    def run(self, *, second_look: bool = False) -> SweepResult:
        """Runs all steps, or those that earlier sessions have not completed.

        Args:
            second_look: opens the test split again if the choice has changed since it was opened.

        Raises:
            JobError: no trial finished.
            KeyboardInterrupt: the user pressed Ctrl-C. The same command continues the sweep.
        """
        choice = self.search_and_choose()
        checkpoint = self.export(choice)
        folds = self._train_folds(choice.chosen)
        # The choice is final here, so the test split may be opened, once.
        verdict = _evaluate(self.files, self.splits, choice, self.fresh(choice), again=second_look)
        for remark in verdict.evaluation.remarks:
            self.say(remark)
        simple = SideChannel("simple models beside it", self.say)(simple_models, self.splits, checkpoint, verdict)
        result = replace(self.result(choice, verdict, folds), simple=simple or [])
        write_text(self.files.best / CARD_FILE, model_card(result, checkpoint, self.splits.changes))
        self.ledger.done()
        return result

    @property
    def runs(self) -> list[TrialRecord]:
        """The trials and reruns on the splits of the sweep. Those on folds have other faces to validate on."""
        return [record for record in self.ledger.records if record.purpose != "fold"]

    def searched(self) -> list[TrialRecord]:
        """Returns the trials of the search, without the reruns of the confirmation."""
        return [record for record in self.ledger.records if record.purpose == "search"]

    def search_and_choose(self) -> _Choice:
        """Runs the search and the confirmation, and writes the leaderboard, even after an exception.

        Raises:
            JobError: no trial finished.
            KeyboardInterrupt: the user pressed Ctrl-C.
        """
        if self.ledger.on_hold:
            self.say(
                f"no trials begin, as you asked: `{called('control')} {near(self.files.path)} go` begins them again"
            )
        try:
            ended_because = self._search()
            if not ranked(self.searched(), self.space.metric):
                raise self._nothing_finished()
            self._confirm()
            choice = self._choose(ended_because)
        except BaseException as error:
            self._write_standing()
            if isinstance(error, JobError):
                self.ledger.done()
            raise
        if missing := [name for name in choice.without_model if name not in self.unusable]:
            self.say(
                f"{', '.join(missing)}: better, but ended before a model was written; {choice.chosen.name} is chosen"
            )
        self.ledger.choose(
            choice.chosen,
            confirmed=[one.record.number for one in choice.confirmed],
            ties=[one.record.number for one in choice.ties],
            left_out=[record.number for record in choice.left_out],
            without_model=choice.without_model,
        )
        write_leaderboard(self.runs, self.space, self.files.leaderboard, choice.confirmed, choice.chosen)
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
        kept |= {run.name for run in self.runs if run.number in confirmed and _is_fresh(run)}
        if choice.confirmed:
            for record in self.runs:
                if record.name not in kept and not record.cut:  # which goes on with a larger budget
                    remove_tree(self.files.trial(record.name).path)
        return choice.checkpoint

    def result(self, choice: _Choice, verdict: Verdict, folds: Folded | None = None) -> SweepResult:
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
            folds=folds,
            front=pareto_front(records, self.space.metric),
            ended_because=choice.ended_because,
            confirmation_ended_because=self.ledger.ended_because("confirm"),
            verdict=verdict,
            encoder=self.splits.train.encoder.to_json(),
            seconds=self.ledger.elapsed_seconds(),
        )

    def fresh(self, choice: _Choice) -> list[TrialRecord]:
        """Returns the finished runs of the chosen configuration with fresh seeds, whose models can be used."""
        return self._fresh(choice.chosen.number)

    def _search(self) -> str:
        """Runs the search and returns why it ended early; "" if it ran all its trials."""
        open_search(self.space, self.files, self.ledger)
        self.run_trials()
        self.ledger.expect()
        return self.ledger.ended_because()

    def _nothing_finished(self) -> JobError:
        kinds = ", ".join(f"{n} x {kind}" for kind, n in failures_by_kind(self.searched()).items())
        return JobError(
            f"no trial finished ({kinds or 'the budget ended before the first epoch'}); {self.files.path} has "
            f"{self.files.leaderboard.name} and {self.files.failures.name}"
        )

    def _no_model(self) -> JobError:
        """Returns why there is no model of the best configuration."""
        runs = [record for record in self.runs if record.epochs and record.state != "failed"]
        if all(run.cut and not run.saved for run in runs):
            why = self.ledger.ended_because() or "it was cut"
            return JobError(
                f"no trial had written a model yet when the search ended ({why}); --resume goes on with a larger "
                "budget, such as --set budget.hours=N"
            )
        return JobError(
            f"{self.files.checkpoints}: no model of the best configuration is left there to export; copy the folder "
            "back, or start a new sweep"
        )

    def _write_standing(self) -> None:
        """Writes the leaderboard of a sweep that has not ended. The mark stays at the exported run, if there is one."""
        records, last = self.runs, self.ledger.choice
        exported = [r for r in records if last is not None and (r.number, r.seed) == (last.number, last.seed)]
        # A run that has gone on since is better by now than the model in best/.
        exported = [r for r in exported if (best := r.best(self.space.metric)) and last and best.epoch == last.epoch]
        confirmed = confirmations(self.searched(), records, self.space)
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
            self.say(
                f"confirming {counted(len(best), 'configuration')} with {self.space.confirm.seeds} fresh seeds each"
            )
        self.run_trials()

    def _train_folds(self, chosen: TrialRecord) -> Folded | None:
        """Trains the chosen configuration again over the folds that the space asks for, and returns their results.

        They decide nothing: the choice has been made on the splits of the sweep, and its model is exported.
        """
        folds = self.space.confirm.folds
        if not folds:
            return None
        self.ledger.use(FoldSource(self.space, chosen, self.ledger.records))
        if not self.ledger.complete:
            self.say(f"training trial {chosen.number} again over {folds} folds of training and validation")
        self.run_trials()
        return folded(self.ledger.records, chosen.number, folds, self.space.metric)

    def _choose(self, ended_because: str) -> _Choice:
        """Chooses the run to export, and finds the configurations that tie with it.

        The number of a run is that of its model on disk, for the chosen run and for the reruns with fresh seeds of its
        configuration. Where the two differ, the record is settled first, and the choice is made again.

        Raises:
            JobError: no model is left.
        """
        metric = self.space.metric
        while True:
            ranking = ranked(self.searched(), metric)
            best = candidates(ranking, self.ledger.records, self.space)
            confirmed = confirmations(best, self.ledger.records, self.space)
            left_out = [record for record in best if all(one.record is not record for one in confirmed)]
            baseline, faces = baseline_that_may_stay(self.space, ranking, confirmed), len(self.splits.val.codes)
            winner, ties = choose(confirmed, metric, baseline, faces) if confirmed else (None, [])
            number = None if winner is None else winner.record.number
            run = self._best_on_disk(number)
            if run is None:
                raise self._no_model()
            before = [one.best(metric) for one in self.ledger.records]
            checkpoint = self._model_of(run)
            for rerun in self._fresh(run.number):  # whose models the look at the test split evaluates
                if rerun is not run and self.files.trial(rerun.name).best_model.is_file():
                    self._model_of(rerun)
            if checkpoint is not None and [one.best(metric) for one in self.ledger.records] == before:
                return _Choice(
                    chosen=run,
                    checkpoint=checkpoint,
                    confirmed=confirmed,
                    ties=ties,
                    left_out=left_out,
                    without_model=self._better_than(run, number),
                    gain=gain_over_baseline(self.space, ranking, run.number, confirmed),
                    ended_because=ended_because,
                )

    def _fresh(self, number: int) -> list[TrialRecord]:
        runs = [run for run in self.runs if run.number == number and _is_fresh(run)]
        return [run for run in runs if run.name not in self.unusable]

    def _best_on_disk(self, number: int | None = None) -> TrialRecord | None:
        """Returns the best run with a model, of one configuration or of the whole search; None if there is none."""
        return next((run for run in ranked(self._runs_of(number), self.space.metric) if self._has_model(run)), None)

    def _better_than(self, run: TrialRecord, number: int | None) -> list[str]:
        """Returns the names of the runs that are better than a run, of one configuration or of the whole search."""
        better = takewhile(lambda one: one is not run, ranked(self._runs_of(number), self.space.metric))
        return [one.name for one in better]

    def _runs_of(self, number: int | None) -> list[TrialRecord]:
        """Returns the runs of one configuration, or all of them, on the splits of the sweep."""
        return [record for record in self.runs if number is None or record.number == number]

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
            self.say(f"{run.name}: its model is damaged or of another epoch than its record, so it is not used")
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
        training_mean=mean_of(splits.train.codes),
        faces=None if splits.no_faces else find_faces(splits.val),
        votes=splits.voted_val,
    )
    return Verdict(evaluation=evaluation, looks=0)
