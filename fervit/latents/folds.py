"""Folds: the rows of the training and the validation split, dealt to parts of which each validates once.

Nothing on disk is changed, and the test split takes no part.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fervit.errors import UserError
from fervit.labels.dealing import deal
from fervit.latents.fractions import groups_of
from fervit.latents.latent_set import LatentSet


class Fold(NamedTuple):
    """One of the folds that the rows of both splits are dealt to."""

    number: int
    """Its number, from 1."""
    of: int
    """The number of folds."""
    seed: int
    """Another seed deals otherwise."""

    def split(self, train: LatentSet, val: LatentSet) -> tuple[LatentSet, LatentSet]:
        """Divides the rows of both splits.

        Args:
            train: the training split.
            val: the validation split.

        Returns:
            The rows of all other folds, to train on, and those of this fold, to validate on.
        """
        mine = folds_of(train, val, self.of, self.seed) == self.number
        return _joined(train, val, ~mine), _joined(train, val, mine)


def folds_of(train: LatentSet, val: LatentSet, folds: int, seed: int) -> np.ndarray:
    """Deals the rows of both splits to folds: stratified, with copies of a picture, and persons of CK+, in one fold.

    Args:
        train: the training split.
        val: the validation split.
        folds: the number of folds.
        seed: another seed deals otherwise.

    Returns:
        The number of each row's fold, from 1, int64 [len(train) + len(val)]: first the rows of `train`.
    """
    labels = [*train.labels.tolist(), *val.labels.tolist()]
    dealt = deal(groups_of(train, val), labels, {str(k): 1 / folds for k in range(1, folds + 1)}, seed=seed)
    return np.array(dealt, np.int64)


def check_folds(train: LatentSet, val: LatentSet, folds: int, seed: int) -> None:
    """Checks that every fold has faces of every class that the two splits have.

    Raises:
        UserError: a fold lacks one.
    """
    labels, dealt = np.concatenate([train.labels, val.labels]), folds_of(train, val, folds, seed)
    of_class: Counter[int] = Counter(label for label, _ in set(zip(labels.tolist(), dealt.tolist(), strict=True)))
    lacking = {label: n for label, n in of_class.items() if n < folds}
    if not lacking:
        return
    label = min(lacking, key=lambda one: (lacking[one], one))
    groups = {group for group, of in zip(groups_of(train, val), labels, strict=True) if of == label}
    faces, name = int((labels == label).sum()), train.label_set.classes[label]
    apart = f", of which {len(groups)} may be parted (copies and persons stay together)" if len(groups) < faces else ""
    raise UserError(
        f"confirm.folds {folds}: every fold needs faces of every class, but {train.path} and {val.path} have {faces} "
        f"of {name}{apart}; give fewer folds, or 0 for none"
    )


def _joined(train: LatentSet, val: LatentSet, chosen: np.ndarray) -> LatentSet:
    """Some rows of both splits as one set, whose fingerprint is its own; `chosen` is bool [len(train) + len(val)]."""
    parts = train.take(np.flatnonzero(chosen[: len(train)])), val.take(np.flatnonzero(chosen[len(train) :]))
    targets = [part.targets for part in parts if part.targets is not None]
    return replace(
        parts[0],
        codes=np.concatenate([part.codes for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        image_ids=[name for part in parts for name in part.image_ids],
        sha256=[digest for part in parts for digest in part.sha256],
        targets=np.concatenate(targets) if targets else None,
        whole="",
    )
