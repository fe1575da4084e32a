"""Opens the ledger of a sweep on disk, together with its observers and its sampler."""

from __future__ import annotations

from collections.abc import Sequence

from fervit.search.console.failure_log import FailureLog
from fervit.search.console.tensorboard import TensorBoard
from fervit.search.ledger import Ledger, Observer
from fervit.search.outcome.baseline import may_be_baseline
from fervit.search.policy.interfaces import StoppingRule
from fervit.search.policy.learned import Learned
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import SearchSource
from fervit.search.policy.stopping import stopping_rule
from fervit.search.policy.thaw import Thaw
from fervit.search.records.journal import JournalFile
from fervit.search.records.models_kept import ModelsKept
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace


def open_ledger(
    space: SearchSpace, folder: SweepFolder, observers: Sequence[Observer] = (), rule: StoppingRule | None = None
) -> Ledger:
    """Opens the ledger of a new sweep, or of one that an earlier session began.

    Args:
        space: the search space.
        folder: the folder of the sweep, which must exist.
        observers: further observers of the sweep, beside TensorBoard and the log of failures.
        rule: the rule that stops trials early; None for the rule of the space.

    Raises:
        UserError: the journal is damaged.
    """
    thaws = space.early_stopping.scheduler == "thaw"
    return Ledger(
        space,
        JournalFile(folder.journal),
        rule or stopping_rule(space.early_stopping, space.metric),
        [*observers, TensorBoard(folder.logs), FailureLog(folder.failures)],
        models=models_kept(space, folder),
        pausing=Thaw(space, Learned.read(folder.learned)) if thaws else None,
    )


def models_kept(space: SearchSpace, folder: SweepFolder) -> ModelsKept:
    """Returns what decides which models stay on disk: those that may be exported, the baseline's among them."""

    def is_baseline(record: TrialRecord) -> bool:
        return space.confirm.top > 0 and may_be_baseline(space, record)

    return ModelsKept(folder, space.metric, max(1, space.confirm.top), is_baseline)


def open_search(space: SearchSpace, folder: SweepFolder, ledger: Ledger) -> SearchSource:
    """Makes the sampler of the space the ledger's source. It continues after the trials of the journal."""
    added, wanted = ledger.added, ledger.wanted
    taken = len(added) - len(wanted)
    sampler = SpaceSampler(space, folder.study, ledger.events, ledger.records, taken=taken)
    source = SearchSource(space, sampler, ledger.records, added=added, wanted=wanted)
    ledger.use(source)
    return source
