"""Runs a sweep on a Ray cluster from start to end.

What a sweep does is in `steps.py`; this module gives it the cluster, and writes what belongs to the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ray import tune

from fervit.cluster.gpu_nodes import GpuNodes
from fervit.cluster.nodes import Cluster
from fervit.io.disk import remove
from fervit.io.files import JsonObject
from fervit.io.storage import absolute
from fervit.progress import Say
from fervit.runs.environment import environment
from fervit.search.console.live import PlainScreen
from fervit.search.ledger import Observer
from fervit.search.opening import open_ledger
from fervit.search.outcome.result import SweepResult
from fervit.search.records.sweep_folder import PARTS, SweepFolder
from fervit.search.space.search_space import DEFAULTS, SearchSpace
from fervit.search.space.settings import TrialResources
from fervit.search.splits import Splits
from fervit.search.steps import Sweep
from fervit.search.workers.trial import LatentTrial
from fervit.search.workers.tuner import run_trials
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
        trainable: the Trainable class that runs a trial of the search.

    Raises:
        JobError: no trial finished.
        KeyboardInterrupt: the user pressed Ctrl-C. The same command continues the sweep.
    """
    files = SweepFolder(folder)
    remove(files.fingerprints)  # until it has ended again
    if splits.exclusion is not None:
        splits.exclusion.write(files.excluded)
    files.write_environment(_environment(space, splits, cluster))
    files.write_space(space)
    ledger = open_ledger(space, files, [PlainScreen(say)] if observers is None else observers)
    try:
        latents = SharedLatents.put(splits.train, splits.val)
        gpu_nodes = GpuNodes(cluster.unusable, say)

        def run_part() -> None:
            kind = trainable if ledger.part == "search" else LatentTrial
            part = "fold" if "fold" in ledger.source.purposes else ledger.part
            run_trials(ledger, files, latents, resources, name=PARTS[part], trainable=kind, gpu_nodes=gpu_nodes)

        return Sweep(ledger, files, splits, run_part, say).run(second_look=second_look)
    finally:
        ledger.close()


def _environment(space: SearchSpace, splits: Splits, cluster: Cluster) -> JsonObject:
    train, val = splits.train, splits.val
    fingerprints = {"train": train.fingerprint, "val": val.fingerprint}
    found = environment(cluster, space.search.seed, train, val, fingerprints)
    if splits.test is not None:
        test = {"path": absolute(splits.test), "rows": splits.test_rows, "sha256": splits.test_fingerprint}
        found["data"]["test"] = test
    # With the space, the defaults are the whole configuration of each trial; another version may have others.
    asked: JsonObject = {} if splits.left_out is None else {"exclude": splits.left_out}
    if splits.voted is not None:
        asked["votes"] = splits.voted
    if splits.no_faces:
        asked["no_faces"] = True
    if splits.fractions is not None:
        asked["fractions"] = asdict(splits.fractions)
    return {**found, **asked, "copies": dict(splits.copies), "defaults": DEFAULTS}
