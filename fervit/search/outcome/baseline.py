"""The baseline of a sweep: the configuration that a user would have trained without it.

"The guide" is the training guide of the original LatentViT scripts, from which the defaults of fervit come.
"""

from __future__ import annotations

from collections.abc import Sequence

from fervit.search.records.ranking import configuration
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import DEFAULTS, SearchSpace

NOT_OF_THE_GUIDE = ("seed", "epochs", "seq_len", "latent_dim", "precision", "use_class_weights")
"""The hyperparameters that are ignored when a configuration is compared with that of the guide.

The guide recommends class weights, so a configuration counts as the guide's with and without them.
"""


def is_guide(space: SearchSpace, record: TrialRecord) -> bool:
    """Returns whether a trial has the configuration of the guide."""
    config = space.config(record.params).to_json()
    return all(config[name] == value for name, value in DEFAULTS.items() if name not in NOT_OF_THE_GUIDE)


def baseline_of(space: SearchSpace, ranking: Sequence[TrialRecord]) -> TrialRecord | None:
    """Returns the trial of the baseline: warm start 1, or without warm starts the guide's configuration.

    Args:
        space: the search space.
        ranking: the trials of the search that have a result.

    Returns:
        The trial; None if it failed or was not among the trials.
    """
    return next((record for record in ranking if may_be_baseline(space, record)), None)


def may_be_baseline(space: SearchSpace, record: TrialRecord) -> bool:
    """Returns whether a trial of the search is that of the baseline, if it gets a result."""
    return record.number == 0 if space.search.warm_start else is_guide(space, record)


def baseline_name(space: SearchSpace, record: TrialRecord) -> str:
    """Returns what the baseline is, such as "the guide's configuration (trial 0)"."""
    what = "the guide's configuration" if is_guide(space, record) else "warm start 1"
    return f"{what} (trial {record.number})"


def why_no_comparison(space: SearchSpace, ranking: Sequence[TrialRecord], chosen: TrialRecord) -> str:
    """Says why a confirmed configuration is compared with no baseline.

    Args:
        space: the search space.
        ranking: the trials of the search that have a result.
        chosen: the chosen run.
    """
    baseline = baseline_of(space, ranking)
    if baseline is None and space.search.warm_start:
        return "Compared with no baseline: warm start 1 has no result"
    if baseline is None:
        return (
            "Compared with no baseline: the guide's configuration was not among the trials, and the space has no "
            "search.warm_start, whose first one would be confirmed beside the best"
        )
    if configuration(baseline.params) == configuration(chosen.params):
        return f"The best is the baseline itself, {baseline_name(space, baseline)}"
    return f"Compared with no baseline: no rerun of {baseline_name(space, baseline)} finished"
