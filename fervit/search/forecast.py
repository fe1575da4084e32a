"""Forecasts what a sweep will take: epochs as a range, disk space, arithmetic. Does not use Ray.

How many epochs a trial trains under early stopping depends on what the sampler will find: one that learns nothing has
most trials stopped at the first comparison, and one that improves with each trial has none stopped. A forecast before
the first trial therefore is the range between these. Once trials have ended, theirs say where in it the sweep lies.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fervit.search.outcome.baseline import baseline_of
from fervit.search.outcome.confirm import candidates
from fervit.search.policy.sources import NOISE_AFTER, fresh_seeds
from fervit.search.policy.stopping import brackets
from fervit.search.records.ranking import distinct, ranked
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import DEFAULTS, SearchSpace
from fervit.search.space.settings import NOISE_SEEDS
from fervit.search.space.space_file import warm_start_params

ENOUGH = 6
"""The number of ended trials from which on they narrow the range."""
DRIFT = 0.35
"""The share of the way to either end of the range that the mean of later trials may be away from those before: samplers
learn. Set so that the range holds in simulated sweeps (benchmarks/forecast.py)."""


@dataclass(frozen=True)
class Span:
    """A range from `low` to `high`."""

    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> Span:
        return Span(self.low * factor, self.high * factor)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        low, high = f"{self.low:,.0f}", f"{self.high:,.0f}"
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The disk space, epochs and arithmetic that a sweep, or what is left of it, is expected to take."""

    parameters: int
    """The number of weights of the largest model of the space."""
    checkpoint_bytes: int
    """The most bytes on disk at once: the best models, their export, the saved states of the running trials, two of
    each while one replaces the other, and those of paused trials with their models."""
    trials: int
    """The largest number of trials of the search that are left."""
    epochs_a_trial: Span
    """The epochs of a trial of the search, on average over those that are left and do not fail."""
    epochs: Span
    """The epochs of all trials and reruns that are left."""
    flops: float
    """The most floating-point operations of these epochs if every model were the largest one: 6 for each weight and
    token (Kaplan et al., 2020), which counts the forward and the backward pass."""


def forecast(space: SearchSpace, running: int, rows: int, records: Sequence[TrialRecord] = ()) -> Forecast:
    """Forecasts a sweep, with the largest model of the space for every trial.

    Args:
        space: the search space.
        running: how many trials run at once.
        rows: the number of rows of the training split.
        records: the trials and reruns so far of a sweep that is resumed; what they have trained is not counted.
    """
    weights = largest_model(space)
    whole = {**DEFAULTS, **space.fixed}
    averages = "ema_decay" in space.parameters or whole["ema_decay"] > 0
    model, state = 4 * weights, 4 * weights * (5 if averages else 4)  # weights, two moments of AdamW, the best weights
    models, states = most_files(space, running)
    trials, a_trial, epochs = _epochs(space, records)
    return Forecast(
        parameters=weights,
        checkpoint_bytes=model * models + state * states,
        trials=trials,
        epochs_a_trial=a_trial,
        epochs=epochs,
        flops=6.0 * weights * ((whole["seq_len"] or 18) + 1) * rows * epochs.high,
    )


def most_files(space: SearchSpace, running: int) -> tuple[int, int]:
    """Returns how many models and how many saved states of trials are on disk at once, at most.

    Args:
        space: the search space.
        running: how many trials run at once.
    """
    confirm = space.confirm
    kept = confirm.top + 1 + ((confirm.top + 1) * confirm.seeds if confirm.top else 0)  # the baseline is the one more
    kept += NOISE_SEEDS if space.budget.until_noise else 0
    exported, unfinished = 2, 2 * running + most_paused(space)  # each twice while one replaces the other
    return kept + exported + unfinished, unfinished


def most_paused(space: SearchSpace) -> int:
    """Returns how many trials may be paused with a saved state and a model at once."""
    stopping = space.early_stopping
    return min(stopping.max_paused, space.search.trials) if stopping.scheduler == "thaw" else 0


def _epochs(space: SearchSpace, records: Sequence[TrialRecord]) -> tuple[int, Span, Span]:
    """Returns the number of trials left, the epochs of each, and those of all trials and reruns left."""
    searched = [record for record in records if record.purpose == "search"]
    unfinished = [record for record in searched if record.state == "running" or record.cut]
    total = int(min(space.search.trials, _size(space)))
    left = max(0, total - len(searched))
    prior = epochs_a_trial(space)
    a_trial = _narrowed(prior, [len(record.epochs) for record in searched if _counts(record)], left)
    later = [max(0, space.early_stopping.max_epochs - len(record.epochs)) for record in unfinished]
    fewest = max(a_trial.low * left - _luck(space, left), min(a_trial.low, space.early_stopping.grace_epochs) * left)
    if space.early_stopping.scheduler == "thaw" and not searched:  # the first trial trains to its end
        fewest = max(fewest, _of_whole_runs(space).low)
    epochs = Span(fewest, a_trial.high * left + sum(later))
    whole = _of_whole_runs(space)
    if space.budget.until_noise:
        least = max(0, min(total, NOISE_AFTER) - len(searched))
        noise = sum(record.purpose == "noise" for record in records)
        measured = total - NOISE_AFTER > NOISE_SEEDS or noise
        runs = max(0, NOISE_SEEDS - noise) if measured else 0
        epochs = Span(min(fewest, a_trial.low * least), epochs.high) + whole * runs
    confirm = _reruns(space, records, total, open_=left > 0 or bool(unfinished))
    dealt = [record for record in records if record.purpose == "fold" and record.folds == space.confirm.folds]
    folds = max(0, space.confirm.folds - sum(record.state != "running" for record in dealt))
    confirm = confirm + Span(folds, folds)
    return left, a_trial, epochs + Span(whole.low * confirm.low, whole.high * confirm.high)


def _reruns(space: SearchSpace, records: Sequence[TrialRecord], total: int, *, open_: bool) -> Span:
    """Returns how many reruns of the confirmation are left.

    Args:
        space: the search space.
        records: the trials and reruns so far.
        total: the number of trials of the search.
        open_: whether trials are left that may be among the best.
    """
    top, seeds = min(space.confirm.top, total), space.confirm.seeds
    if not top:
        return Span(0, 0)
    ranking = ranked([record for record in records if record.purpose == "search"], space.metric)
    runs = [record for record in records if record.purpose == "confirm"]
    ended = {(run.number, run.seed) for run in runs if run.state != "running"}
    again = {run.number for run in runs if run.state == "finished"}
    baseline = baseline_of(space, ranking)

    def lacking(trials: Sequence[TrialRecord]) -> int:
        return sum((trial.number, seed) not in ended for trial in trials for seed in fresh_seeds(space))

    now = lacking(candidates(ranking, records, space))
    if not open_:
        return Span(now, now)
    stay = [record for record in ranking if record.number in again or record is baseline]
    short = max(0, top - len(distinct(ranking)[:top])) * seeds
    return Span(now + short, max(now + short, top * seeds + lacking(stay) + (0 if baseline is not None else seeds)))


def _size(space: SearchSpace) -> float:
    """Returns the largest number of trials: that of the grid with its warm starts, or infinity for other samplers."""
    if space.search.sampler != "grid":
        return math.inf
    warm = [warm_start_params(space, params) for params in space.search.warm_start]
    return len(warm) + sum(params not in warm for params in space.configurations())


def _counts(record: TrialRecord) -> bool:
    return record.state in ("finished", "stopped") and not record.cut and len(record.epochs) > 0


def _narrowed(prior: Span, lasted: Sequence[int], left: int) -> Span:
    """Narrows the range of the mean epochs of the trials left by those that have ended, in the order of their numbers.

    Both means vary by chance, and later trials may last longer or shorter than earlier ones.
    """
    if len(lasted) < ENOUGH:
        return prior
    recent = lasted[len(lasted) // 2 :]
    mean = statistics.fmean(recent)
    error = 2 * statistics.stdev(recent) * math.sqrt(1 / len(recent) + 1 / max(1, left))
    low = mean - error - DRIFT * (mean - prior.low)
    high = mean + error + DRIFT * (prior.high - mean)
    return Span(min(max(prior.low, low), mean), max(mean, min(prior.high, high)))


def epochs_a_trial(space: SearchSpace) -> Span:
    """Returns the range of the mean number of epochs of a trial that does not fail, before anything is known.

    At least, one trial in `reduction_factor` continues after each rung of its bracket; at most, all do. The warm-up of
    the learning rate shifts the rungs. The median rule stops at least half of the trials at its first comparison.
    """
    stopping, whole = space.early_stopping, _of_whole_runs(space)
    if stopping.scheduler == "none":
        return whole
    warmup = math.ceil(min(_smallest(space, "warmup_epochs"), stopping.max_epochs))
    if stopping.scheduler == "thaw":
        return Span(0.0, whole.high)
    if stopping.scheduler == "median":
        return Span(min(whole.low, stopping.grace_epochs + warmup), whole.high)
    low = sum(share * epochs for epochs, share in _lasting(space, warmup))
    return Span(min(whole.low, low), whole.high)


def _lasting(space: SearchSpace, warmup: int) -> list[tuple[float, float]]:
    """Returns (epochs, share of the trials that last so long) if one trial in `reduction_factor` passes each rung."""
    stopping, found = space.early_stopping, []
    for first_rung, share in brackets(stopping):
        rung = first_rung
        while rung + warmup < stopping.max_epochs:
            found.append((float(rung + warmup), share * (1 - 1 / stopping.reduction_factor)))
            rung, share = rung * stopping.reduction_factor, share / stopping.reduction_factor
        found.append((float(stopping.max_epochs), share))
    return found


def _luck(space: SearchSpace, trials: int) -> float:
    """Returns by how much the epochs of some trials together may be fewer than expected, by chance alone."""
    stopping = space.early_stopping
    if stopping.scheduler in ("none", "median", "thaw") or not trials:
        return 0.0
    lasting = _lasting(space, 0)
    mean = sum(share * epochs for epochs, share in lasting)
    variance = sum(share * (epochs - mean) ** 2 for epochs, share in lasting)
    return math.sqrt(variance * trials)


def _of_whole_runs(space: SearchSpace) -> Span:
    """Returns the range of epochs of a training that no other trial stops: its own patience may."""
    most = float(space.early_stopping.max_epochs)
    patience = _smallest(space, "early_stop_patience", above=0)
    return Span(min(most, patience + 1) if patience else most, most)


def _smallest(space: SearchSpace, name: str, above: float = -1) -> float:
    """Returns the smallest value above a bound that a hyperparameter takes in the space; 0 if it takes none."""
    values = [float({**DEFAULTS, **space.fixed}[name] or 0)]
    if name in space.parameters:
        options = space.parameters[name].options()
        ends = options if options is not None else [getattr(space.parameters[name], "min", 0.0)]
        values = [float(value or 0) for value in ends]
    return min((value for value in values if value > above), default=0.0)


def largest_model(space: SearchSpace) -> int:
    """The number of weights of the largest model that the space can build."""
    from fervit.model import count_weights

    whole = {**DEFAULTS, **space.fixed}
    for name, distribution in space.parameters.items():
        options = distribution.options()
        if name in ("depth", "mlp_dim") and options is not None:
            whole[name] = max(options)
    embed_dim, heads = max(space.buildable_pairs())
    config = space.config({**space.example(), "embed_dim": embed_dim, "heads": heads})
    config = replace(config, depth=whole["depth"], mlp_dim=whole["mlp_dim"], seq_len=config.seq_len or 18)
    return count_weights(config.model())
