"""Removes the models of trials while a sweep runs, but for those of the best trials and of reruns with fresh seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fervit.io.disk import remove, remove_tree
from fervit.search.records.ranking import distinct, ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.training.objective import Metric


class ModelsKept:
    """Removes the files of trials that no later step of the sweep needs.

    Args:
        folder: the folder of the sweep.
        metric: the metric by which trials are ranked.
        keep: the number of best configurations of the search whose models are kept.
        always: returns whether the model of a trial is kept however good it is, such as that of the baseline, which is
            confirmed with the best. The models of a configuration that has been confirmed are kept, too, since it stays
            a candidate when trials are added.
    """

    def __init__(
        self,
        folder: SweepFolder,
        metric: Metric,
        keep: int,
        always: Callable[[TrialRecord], bool] = lambda record: False,
    ) -> None:
        self._folder, self._metric, self._keep, self._is_always_kept = folder, metric, keep, always
        self._kept: list[TrialRecord] = []
        self._confirmed: set[int] = set()
        """The numbers of the trials that have been confirmed."""

    def take_up(self, records: Sequence[TrialRecord]) -> None:
        """Removes files of earlier sessions that are no longer needed.

        Args:
            records: all trials and reruns of the sweep.
        """
        ended = [record for record in records if record.state != "running" and record.purpose == "search"]
        self._confirmed = {record.number for record in records if _confirms(record)}
        self._kept = self._best(ended)
        running = {record.name for record in records if record.state == "running" or record.cut}
        wanted = {record.name for record in records if record.purpose not in ("search", "fold")}
        wanted |= {record.name for record in ended if record.state != "failed" and self._always(record)}
        wanted |= running | {record.name for record in self._kept}
        for path in self._folder.checkpoints.glob("*"):
            if path.name not in wanted:
                remove_tree(path)
            elif path.name not in running:
                remove(self._folder.trial(path.name).last)

    def started(self, record: TrialRecord) -> None:
        """Removes what an earlier run of the same name left, such as a rerun that a budget stopped."""
        remove_tree(self._folder.trial(record.name).path)

    def ended(self, record: TrialRecord) -> None:
        """Removes the saved state of a trial that has ended, and the models that are no longer among the best.

        What was cut keeps its saved state, from which it goes on with a larger budget.
        """
        if not record.cut:
            remove(self._folder.trial(record.name).last)
        if record.purpose == "fold" and not record.cut:  # its value is all that is wanted of it
            remove_tree(self._folder.trial(record.name).path)
        if _confirms(record):
            self._confirmed.add(record.number)
        if record.purpose != "search":
            return
        candidates = [*self._kept, record]
        self._kept = self._best(candidates)
        for candidate in candidates:
            kept = any(candidate is one for one in self._kept)
            if not candidate.cut and not kept and (candidate.state == "failed" or not self._always(candidate)):
                remove_tree(self._folder.trial(candidate.name).path)

    def _best(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Returns the best trial of each configuration, as many as are kept.

        A trial that was cut before it wrote a model takes no other's place, whose model may be the only one.
        """
        able = [record for record in records if not record.cut or self._folder.trial(record.name).best_model.is_file()]
        return distinct(ranked(able, self._metric))[: self._keep]

    def _always(self, record: TrialRecord) -> bool:
        return record.number in self._confirmed or self._is_always_kept(record)

    def can_resume(self, record: TrialRecord) -> bool:
        """Returns whether the saved state of a trial is there, from which it can go on."""
        return self._folder.trial(record.name).last.is_file()


def _confirms(record: TrialRecord) -> bool:
    return record.purpose == "confirm" and record.state == "finished"
