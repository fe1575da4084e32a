"""The command that trains the chosen run of a sweep again."""

from __future__ import annotations

import dataclasses
import shlex

from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import DEFAULTS, SearchSpace
from fervit.search.splits import Splits
from fervit.system.program import called


def train_again(space: SearchSpace, chosen: TrialRecord, splits: Splits) -> str:
    """Returns the command of train.py with the hyperparameters, the seed and the latents of a run.

    It trains up to `max_epochs`, also where the sweep stopped the run before.

    Args:
        space: the space of the sweep, with the GPUs of a trial.
        chosen: the run.
        splits: the latents of the sweep.
    """
    words = ["--latent_train_dir", splits.train.path, *_splits(splits)]
    if splits.exclusion is not None:
        words += ["--exclude", *splits.exclusion.files]
    if splits.votes is not None:
        votes, votes_as = splits.votes
        words += ["--votes", votes.file, "--votes_as", votes_as]
    if space.trial.workers > 1:
        words += ["--workers", str(space.trial.workers)]
    if not space.trial.gpus_each:
        words.append("--no_use_gpu")
    given = dataclasses.asdict(space.config(chosen.params, chosen.seed))
    for name, value in given.items():
        if isinstance(value, bool):
            words += [f"--{'' if value else 'no_'}{name}"] if value != DEFAULTS[name] else []
        elif value != DEFAULTS[name] or name in chosen.params:
            words += [f"--{name}", str(value)]
    return f"{called('train')} {shlex.join(words)}"


def _splits(splits: Splits) -> list[str]:
    """Returns the flags that name the validation split, or take it and the test split out of the training codes."""
    fractions, words = splits.fractions, []
    if fractions is None or not fractions.val:
        words = ["--latent_val_dir", splits.val.path]
    for name, share in (("val", fractions.val), ("test", fractions.test)) if fractions is not None else ():
        words += [f"--{name}_fraction", str(share)] if share else []
    return words + (["--split_seed", str(fractions.seed)] if fractions is not None and fractions.seed else [])
