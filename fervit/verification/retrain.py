"""Trains the chosen run of a sweep again."""

from __future__ import annotations

import math
import statistics

from scipy import stats

from fervit.checkpoints.checkpoint import fingerprint_of_weights
from fervit.progress import Say
from fervit.runs.session import prepare_process
from fervit.runs.state import copy_weights
from fervit.search.outcome.confirm import CONFIDENCE
from fervit.search.splits import Splits
from fervit.system.gpu import device_at_hand
from fervit.training.epoch import FIELDS, EpochResult
from fervit.training.trainer import Trainer
from fervit.verification.comparison import Comparison, DifferenceError
from fervit.verification.record import confirmed_in
from fervit.verification.sweep import EndedSweep

OF_THE_CLOCK = ("seconds", "samples_per_second")


def retrain(sweep: EndedSweep, splits: Splits, compare: Comparison, say: Say) -> None:
    """Trains the chosen run again, up to its last epoch, and compares its curve and its weights.

    On one CPU core of the kind that trained it, all bits are the same. Elsewhere, its best value must lie where a
    further run with a fresh seed would lie in 95 of 100 cases, by the fresh seeds of the confirmation.

    Raises:
        DifferenceError: it came out otherwise.
    """
    chosen, metric = sweep.chosen, sweep.space.metric
    device = "cpu" if sweep.space.trial.gpus_each == 0 else device_at_hand()
    threads = max(1, int(sweep.space.trial.cpus))
    prepared = prepare_process(splits.train, splits.val, device=device, threads=threads)
    trainer = Trainer(sweep.model.config, *prepared, metric=metric)
    rows, weights = [], copy_weights(trainer)
    for stated in chosen.epochs:
        rows.append(trainer.run_epoch())
        if trainer.improved:
            weights = copy_weights(trainer)
        if sweep.same_kind:
            _compare_epoch(f"{chosen.name}, trained again, epoch {stated.epoch}", stated, rows[-1], compare)
    if sweep.same_kind:
        digest = fingerprint_of_weights({name: value.cpu() for name, value in weights.items()})
        compare.same("best/best_model.pt: fingerprint of the weights", sweep.model.fingerprint, digest)
        say(f"trained again: {len(rows)} epochs and the weights have the same bits")
        return
    best = metric.best(rows)
    assert best is not None
    say(_within_noise(sweep, metric.value(best), compare))


def _compare_epoch(where: str, stated: EpochResult, computed: EpochResult, compare: Comparison) -> None:
    for name in FIELDS:
        if name not in OF_THE_CLOCK:
            compare.same(f"{where}: {name}", getattr(stated, name), getattr(computed, name))


def _within_noise(sweep: EndedSweep, value: float, compare: Comparison) -> str:
    """Compares the best value of the retrained run with what the fresh seeds say of a further one.

    Returns:
        What was found, in a line.
    """
    metric, stated = sweep.space.metric, sweep.chosen.best_value(sweep.space.metric)
    confirmed = next((one for one in confirmed_in(sweep) if one.record.number == sweep.chosen.number), None)
    again = f"trained again on another kind of machine: {metric.name} {value:.4f}, stated {stated:.4f}"
    values = confirmed.values if confirmed is not None else ()
    n = len(values)
    if n < 2:
        return f"{again}; without fresh seeds (confirm.seeds) the noise is not stated, so nothing is compared"
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * statistics.stdev(values) * math.sqrt(1 + 1 / n)
    mean = statistics.fmean(values)
    if abs(value - mean) > half:
        raise DifferenceError(f"{again}, outside the noise of the {n} fresh seeds ({mean:.4f} ± {half:.4f})")
    compare.numbers += 1
    return f"{again}, within the noise of the {n} fresh seeds ({mean:.4f} ± {half:.4f} holds a further run in 95 %)"
