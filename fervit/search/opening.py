"""Opens the ledger of a sweep on disk, with everything that watches it."""

from __future__ import annotations

from collections.abc import Sequence

from fervit.search.console.failure_log import FailureLog
from fervit.search.console.tensorboard import TensorBoard
from fervit.search.ledger import Ledger, Observer
from fervit.search.policy.interfaces import StoppingRule
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import SearchSource
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.journal import JournalFile
from fervit.search.records.models_kept import ModelsKept
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace


def open_ledger(
    space: SearchSpace, folder: SweepFolder, observers: Sequence[Observer] = (), rule: StoppingRule | None = None
) -> Ledger:
    """The ledger of a sweep, new or as an earlier session left it.

    Args:
        space: what is searched.
        folder: of the sweep; it must exist.
        observers: who sees what happens, beside TensorBoard and the log of failures.
        rule: which trials are stopped; the space's own unless given.

    Raises:
        UserError: the journal is damaged.
    """
    return Ledger(
        space,
        JournalFile(folder.journal),
        rule or stopping_rule(space.early_stopping, space.metric),
        [*observers, TensorBoard(folder.logs), FailureLog(folder.failures)],
        models=ModelsKept(folder, space.metric, max(1, space.confirm.top)),
    )


def open_search(space: SearchSpace, folder: SweepFolder, ledger: Ledger) -> SearchSource:
    """Has the ledger take trials from the space's sampler, which goes on where the ledger's journal ends."""
    source = SearchSource(space, SpaceSampler(space, folder.study, ledger.events), ledger.records)
    ledger.use(source)
    return source
