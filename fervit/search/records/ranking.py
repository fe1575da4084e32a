"""The rule for the best: trials ranked, what is best at its cost, and counts by how trials ended. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from fervit.search.records.record import TrialRecord
from fervit.training.objective import Metric


def ranked(records: Iterable[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """The trials that have an epoch and did not fail, best first.

    The one rule: the best value of the metric over all epochs and trials; of equal values the earlier epoch, then the
    earlier trial.
    """
    sign = -1 if metric.goal == "maximize" else 1

    def key(record: TrialRecord) -> tuple[float, int, int, int]:
        best = record.best(metric)
        assert best is not None
        return sign * best[metric.name], best["epoch"], record.number, record.seed

    return sorted((r for r in records if r.epochs and r.state != "failed"), key=key)


def pareto_front(records: Iterable[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """The trials of which none is both cheaper and at least as good, or as cheap and better; cheapest first."""
    with_cost = [record for record in ranked(records, metric) if record.cost is not None]
    front: list[TrialRecord] = []
    for record in sorted(with_cost, key=lambda record: record.cost or 0.0):  # stable: of equal cost the best first
        best, leading = record.best(metric), front[-1].best(metric) if front else None
        assert best is not None
        if metric.better(best[metric.name], leading[metric.name] if leading is not None else None):
            front.append(record)
    return front


def counts_by_state(records: Sequence[TrialRecord]) -> Counter[str]:
    return Counter(record.state for record in records)


def failures_by_kind(records: Iterable[TrialRecord]) -> Counter[str]:
    """How many trials failed of each kind; the kind is the failure's text up to the first colon."""
    return Counter(record.failure.partition(":")[0] for record in records if record.state == "failed")
