"""Exports metrics of a sweep to Prometheus, which Grafana shows (`clusters/grafana/fervit.json`)."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge

from fervit.search.ledger import Ledger, Observer
from fervit.search.records.ranking import failures_by_kind
from fervit.search.records.record import TrialRecord
from fervit.system.side_channels import ascii_tag

STATES = ("running", "finished", "stopped", "failed")


class Metrics(Observer):
    """Updates the metrics of a sweep. Ray exports them with the prefix `ray_`.

    Args:
        sweep: the name of the sweep's folder, with which every metric is tagged.
        gpu_share: the share of the cluster's GPUs that one trial takes; 0 without GPUs.
    """

    def __init__(self, sweep: str, gpu_share: float = 0.0) -> None:
        self._gpu_share = gpu_share
        tags = {"sweep": ascii_tag(sweep)}
        self._trials = Gauge("fervit_trials", "Trials and reruns by state", ("sweep", "state"))
        self._failures = Gauge("fervit_failures", "Failed trials by kind", ("sweep", "kind"))
        self._best = Gauge("fervit_best_value", "Best value of the metric so far, on validation", ("sweep",))
        self._gpus = Gauge("fervit_gpu_share", "Share of the cluster's GPUs that trials hold, 0 to 1", ("sweep",))
        self._epochs = Counter("fervit_epochs", "Epochs trained by this session", ("sweep",))
        for metric in (self._trials, self._failures, self._best, self._gpus, self._epochs):
            metric.set_default_tags(tags)
        self._counts: dict[str, int] = {}
        self._ended_epochs = self._counted = 0

    def changed(self, ledger: Ledger) -> None:
        """Updates the metrics."""
        self._update(ledger)

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """Counts the trial under its state and, if it failed, its kind of failure."""
        if self._counts:
            self._counts[record.state] += 1
            self._ended_epochs += len(record.epochs)
        self._update(ledger)
        if record.state == "failed":
            for kind, n in failures_by_kind(ledger.records).items():
                self._failures.set(n, {"kind": ascii_tag(kind)})

    def _update(self, ledger: Ledger) -> None:
        if not self._counts:  # trials of earlier sessions are shown, but their epochs are not counted again
            ended = [record for record in ledger.records if record.state != "running"]
            self._counts = {state: sum(record.state == state for record in ended) for state in STATES}
            self._ended_epochs = sum(len(record.epochs) for record in ended)
            self._counted = self._ended_epochs
        running = ledger.running
        for state in STATES:
            self._trials.set(len(running) if state == "running" else self._counts[state], {"state": state})
        epochs = self._ended_epochs + sum(len(record.epochs) for record in [*running, *ledger.paused])
        if epochs > self._counted:
            self._epochs.inc(epochs - self._counted)
            self._counted = epochs
        best = ledger.best
        value = best.best_value(ledger.space.metric) if best is not None else None
        if value is not None:
            self._best.set(value)
        if self._gpu_share:
            self._gpus.set(min(1.0, len(running) * self._gpu_share))
