"""Ranks trials, finds the Pareto front, and counts how trials ended."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from fervit.search.records.epochs import Epochs
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import Params
from fervit.training.epoch import EpochResult
from fervit.training.objective import Metric


def ranked(records: Iterable[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """Returns the trials that have an epoch and did not fail, best first.

    Trials are compared by the best value of the metric over their epochs. Of equal values, the one of the earlier epoch
    comes first, and then the one of the earlier trial.
    """
    return [record for record, _ in with_best(records, metric)]


def in_order_of_confirmation(ranking: Sequence[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """Returns trials in the order in which their configurations are confirmed.

    Where a model of curves expects anything of them (`scheduler: thaw`), that is the order of what lies halfway between
    what it expects and what they have reached: the best value of many trials is the value of a lucky one, and a model
    that knows better may be wrong. Otherwise it is the given order.

    Args:
        ranking: the trials of the search, best first.
        metric: the metric of the sweep.
    """

    def place(record: TrialRecord) -> float:
        value = record.best_value(metric)
        return math.inf if record.expected is None or value is None else -metric.sign * (record.expected + value) / 2

    return sorted(ranking, key=place)


def with_best(records: Iterable[TrialRecord], metric: Metric) -> list[tuple[TrialRecord, EpochResult]]:
    """Returns the trials of `ranked` in the same order, each with its best epoch."""
    found = [(record, record.best(metric)) for record in records if record.state != "failed"]
    pairs = [(record, best) for record, best in found if best is not None]
    return sorted(pairs, key=lambda pair: (-metric.sign * metric.value(pair[1]), pair[1].epoch, *_order(pair[0])))


def configuration(params: Params) -> tuple[tuple[str, object], ...]:
    """Returns hyperparameters as a key, which is equal for equal configurations."""
    return tuple(sorted(params.items()))


def distinct(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Returns the first trial of each configuration, in the given order."""
    first: dict[object, TrialRecord] = {}
    for record in records:
        first.setdefault(configuration(record.params), record)
    return list(first.values())


def _order(record: TrialRecord) -> tuple[int, int]:
    return record.number, record.seed


def pareto_front(records: Iterable[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """Returns the Pareto front, cheapest first: the trials that are better than every other trial at no higher cost."""
    with_cost = [(record.cost, record, best) for record, best in with_best(records, metric) if record.cost is not None]
    front: list[TrialRecord] = []
    leading: EpochResult | None = None
    for _, record, best in sorted(with_cost, key=lambda one: one[0]):  # stable, so the best of equal costs is first
        if metric.improves(best, leading):
            front.append(record)
            leading = best
    return front


def counts_by_state(records: Iterable[TrialRecord]) -> Counter[str]:
    """Counts the trials in each state."""
    return Counter(record.state for record in records)


def failures_by_kind(records: Iterable[TrialRecord]) -> Counter[str]:
    """Counts the failed trials by the kind of their failure."""
    return Counter(record.failure.kind for record in records if record.state == "failed" and record.failure)


def best_values(record: TrialRecord, metric: Metric) -> Iterator[tuple[int, float]]:
    """Yields (epoch, the best value of the metric so far) for each epoch of a trial."""
    epochs = record.epochs if isinstance(record.epochs, Epochs) else Epochs(record.epochs)
    best: float | None = None
    for epoch, value in zip(epochs.column("epoch"), epochs.column(metric.name), strict=True):
        best = value if best is None or metric.better(value, best) else best
        yield int(epoch), best


def better_until_it_failed(records: Iterable[TrialRecord], chosen: TrialRecord, metric: Metric) -> str:
    """Says which trial was better than the chosen run before it failed; "" if none was."""
    failed = [record for record in records if record.state == "failed"]
    reached = [(record, best) for record in failed if (best := record.best(metric)) is not None]
    limit = chosen.best(metric)
    if not reached or limit is None:
        return ""
    record, best = max(reached, key=lambda one: metric.sign * metric.value(one[1]))
    if not metric.better(metric.value(best), metric.value(limit)):
        return ""
    why = record.failure.kind if record.failure else "failed"
    return (
        f"Not ranked: trial {record.number} reached {metric.name} {metric.value(best):.3f} at epoch {best.epoch}, "
        f"before it failed at epoch {record.last_epoch + 1} ({why})"
    )
