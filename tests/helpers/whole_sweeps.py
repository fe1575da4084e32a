"""Whole sweeps that train for real, in this process: all of a sweep but Ray, which only places its trials."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fervit.cluster.nodes import Cluster, Node
from fervit.runs.session import TRIAL, Session, SessionFiles, prepare_process
from fervit.search.ledger import Ledger
from fervit.search.opening import open_ledger
from fervit.search.outcome.fingerprints import write_fingerprints
from fervit.search.outcome.result import SweepResult
from fervit.search.pipeline import _environment
from fervit.search.records.report import TrialReport
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.splits import Splits, open_splits
from fervit.search.steps import Sweep
from fervit.training.trainer import Trainer
from tests.helpers.sweeps import space

HERE = Cluster(
    nodes=(Node(address="127.0.0.1", cpus=2, gpus=0.0),),
    dashboard=None,
    started_here=True,
)


def whole_sweep(
    folder: Path, latents: Path, *, of_splits: Mapping[str, Any] | None = None, **sections: dict[str, Any]
) -> SweepResult:
    """Runs a sweep from its start to its end, as `fervit.tune` does but for the report, on one thread.

    Args:
        folder: the folder of the sweep, which is made.
        latents: the folder of its latents.
        of_splits: further arguments of `open_splits`.
        sections: changes of the small space of the tests.
    """
    folder.mkdir()
    files, of = SweepFolder(folder), space(**sections)
    splits = open_splits(str(latents), of, **(of_splits or {}))
    if splits.exclusion is not None:
        splits.exclusion.write(files.excluded)
    files.write_environment(_environment(of, splits, HERE))
    files.write_space(of)
    ledger = open_ledger(of, files)
    try:
        result = Sweep(ledger, files, splits, lambda: _run_trials(ledger, files, splits), lambda line: None).run()
    finally:
        ledger.close()
    write_fingerprints(files)
    return result


def _run_trials(ledger: Ledger, files: SweepFolder, splits: Splits) -> None:
    """Trains the trials of the ledger's source, one after the other."""
    train, val = prepare_process(splits.train, splits.val, device="cpu", threads=1)
    while (planned := ledger.begin()) is not None:
        ledger.placed(planned.name)
        trainer, folder = Trainer(planned.config, train, val, metric=ledger.space.metric), files.trial(planned.name)
        session = Session(trainer, SessionFiles(best=folder.best_model, last=folder.last, stop=files.stop), TRIAL)
        while not trainer.finished:
            epoch = session.run_epoch()
            value = session.unreported[-1].best_value
            report = TrialReport(epoch=epoch, best_value=value, finished=trainer.finished, saved=session.saved_epoch)
            if ledger.report(planned.name, report):
                break
        session.save_best()
        ledger.end(planned.name)
