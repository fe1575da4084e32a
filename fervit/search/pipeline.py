"""A whole sweep: search, confirm, choose, export, evaluate once. Each step finds what an earlier session has done."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import tune

from fervit.checkpoints.checkpoint import BEST_MODEL, Checkpoint, load_checkpoint
from fervit.checkpoints.export import CARD_FILE, export
from fervit.cluster.nodes import Cluster
from fervit.errors import JobError
from fervit.evaluation.evaluate import evaluate
from fervit.files import write_text
from fervit.latents.source import find_faces
from fervit.progress import Say
from fervit.runs.environment import environment
from fervit.search.console.live import PlainScreen
from fervit.search.ledger import Ledger, Screen
from fervit.search.outcome.confirm import Confirmed, choose, confirmations
from fervit.search.outcome.leaderboard import write_leaderboard
from fervit.search.outcome.result import SweepResult
from fervit.search.outcome.sealed import Verdict, open_test
from fervit.search.outcome.sweep_card import model_card
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import ConfirmSource, SearchSource
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.journal import FILE, Journal
from fervit.search.records.ranking import failures_by_kind, pareto_front, ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import write_environment, write_space
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
    screen: Screen | None = None,
    second_look: bool = False,
    trainable: type[tune.Trainable] = LatentTrial,
) -> SweepResult:
    """Runs a sweep to its end, from wherever an earlier session left it.

    Args:
        space: what to search.
        splits: the latents.
        resources: what a trial gets, as `preflight.placeable` found it.
        folder: of the sweep, absolute; all its files go there.
        cluster: the Ray that this process is connected to.
        say: prints a line for the user.
        screen: shows the trials; a line for each that ends unless given.
        second_look: open the test split again if the choice has changed since it was opened.
        trainable: what a trial is.

    Raises:
        JobError: no trial finished.
        KeyboardInterrupt: Ctrl-C; the sweep can go on from here.
    """
    write_environment(folder, _environment(space, splits, cluster))
    write_space(space, folder)
    ledger = Ledger(space, folder, stopping_rule(space.early_stopping, space.metric), screen or PlainScreen(say))
    latents = SharedLatents.put(splits.train, splits.val)
    try:
        source = SearchSource(space, SpaceSampler(space, folder / "study.journal"), ledger.records)
        ledger.use(source)
        run_trials(ledger, latents, resources, name="trials", trainable=trainable)
        records = [record for record in ledger.records if record.purpose == "search"]
        ranking = ranked(records, space.metric)
        if not ranking:
            kinds = ", ".join(f"{n} x {kind}" for kind, n in failures_by_kind(records).items())
            raise JobError(
                f"no trial finished ({kinds or 'the budget ended before the first epoch'}); {folder} has "
                "leaderboard.csv and failures.log"
            )
        confirmed = _confirm(ledger, ranking[: space.confirm.top], latents, resources, say)
        chosen, ties = _choose(ledger, ranking, confirmed)
        write_leaderboard(ledger.records, space, folder / "leaderboard.csv", confirmed, chosen)
    except BaseException as error:
        write_leaderboard(ledger.records, space, folder / "leaderboard.csv")
        if isinstance(error, JobError):
            _done(folder)
        raise
    finally:
        ledger.close()
    checkpoint = _export(ledger, chosen, confirmed)
    # From here on nothing is chosen any more: the test split is opened, once.
    if splits.test is None:
        evaluation = evaluate(
            checkpoint,
            splits.val,
            folder / "evaluation",
            split="val",
            training_sha256=splits.train.sha256,
            faces=find_faces(splits.val),
        )
        verdict = Verdict(evaluation=evaluation, looks=0)
    else:
        verdict = open_test(folder, checkpoint, chosen, splits.test, splits.train, again=second_look)
    result = SweepResult(
        folder=folder,
        space=space,
        records=records,
        chosen=chosen,
        confirmed=confirmed,
        ties=ties,
        front=pareto_front(records, space.metric),
        ended_because=source.enough or _budget_spent(ledger, resources, len(records)),
        verdict=verdict,
        encoder=splits.train.encoder.to_json(),
        seconds=ledger.elapsed_seconds(),
    )
    write_text(folder / "best" / CARD_FILE, model_card(result, checkpoint))
    _done(folder)
    return result


def _done(folder: Path) -> None:
    """Writes down that a session has come to its end."""
    journal = Journal(folder / FILE)
    journal.append("done")
    journal.close()


def _budget_spent(ledger: Ledger, resources: TrialResources, begun: int) -> str:
    budget, gpus = ledger.space.budget, resources.gpus * resources.workers
    over = spent(budget, ledger.elapsed_seconds(), gpus * ledger.spent_seconds())
    if not over or begun >= ledger.space.search.trials:
        return ""
    limits = [
        f"{value:g} {name}" for name, value in (("hours", budget.hours), ("GPU-hours", budget.gpu_hours)) if value
    ]
    return f"the budget of {' and '.join(limits)} is spent after {begun} of {ledger.space.search.trials} trials"


def _confirm(
    ledger: Ledger, best: Sequence[TrialRecord], latents: SharedLatents, resources: TrialResources, say: Say
) -> list[Confirmed]:
    """Trains each of the best configurations again, to the end, with fresh seeds."""
    if not best:
        return []
    space = ledger.space
    source = ConfirmSource(space, best, ledger.records)
    ledger.use(source)
    if not ledger.complete:
        say(f"confirming the best {len(best)} with {space.confirm.seeds} fresh seeds each")
    run_trials(ledger, latents, resources, name="confirm")
    return confirmations(best, ledger.records, space.metric)


def _choose(
    ledger: Ledger, ranking: Sequence[TrialRecord], confirmed: Sequence[Confirmed]
) -> tuple[TrialRecord, list[Confirmed]]:
    """The run to export, and what ties with its configuration."""
    if not confirmed:
        return _runs(ledger, ranking[0].number)[0], []
    winner, ties = choose(confirmed, ledger.space.metric)
    return _runs(ledger, winner.record.number)[0], ties


def _runs(ledger: Ledger, number: int) -> list[TrialRecord]:
    """All runs of a configuration whose models are there, best first; a resumed sweep may have removed one."""
    runs = [record for record in ledger.records if record.number == number]
    kept = [record for record in runs if (ledger.checkpoint_folder(record.name) / BEST_MODEL).is_file()]
    return ranked(kept, ledger.space.metric)


def _export(ledger: Ledger, chosen: TrialRecord, confirmed: Sequence[Confirmed]) -> Checkpoint:
    """Writes best/, and leaves of each confirmed configuration the model of its best run alone."""
    checkpoint = load_checkpoint(ledger.checkpoint_folder(chosen.name) / BEST_MODEL)
    export(checkpoint, ledger.folder / "best")
    kept = {_runs(ledger, c.record.number)[0].name for c in confirmed}
    if kept:
        for record in ledger.records:
            if record.name not in kept:
                shutil.rmtree(ledger.checkpoint_folder(record.name), ignore_errors=True)
    return checkpoint


def _environment(space: SearchSpace, splits: Splits, cluster: Cluster) -> dict[str, Any]:
    train, val = splits.train, splits.val
    fingerprints = {"train": train.fingerprint, "val": val.fingerprint}
    return environment(cluster, space.search.seed, train, val, fingerprints)
