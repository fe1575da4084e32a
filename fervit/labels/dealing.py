"""Deals faces to splits: stratified by class, and in groups (copies of a face, pictures of a person) that stay whole.

It decides by the seed and the names of the groups alone, so that the order of the faces does not matter.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from fervit.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Fractions:
    """The shares of the training pictures that become splits of their own; 0 for a split that is there."""

    val: float = 0.0
    test: float = 0.0
    seed: int = 0
    """Another seed deals otherwise."""

    def __str__(self) -> str:
        flags = [f"--{split}_fraction {share:g}" for split, share in self.shares.items() if split != "train"]
        return " ".join([*flags, *([f"--split_seed {self.seed}"] if self.seed else [])])

    @property
    def shares(self) -> dict[str, float]:
        """The share of each split."""
        wanted = {split: share for split, share in (("val", self.val), ("test", self.test)) if share}
        return {"train": 1 - sum(wanted.values()), **wanted}

    def check(self) -> None:
        """Checks that each split gets a part.

        Raises:
            UserError: a fraction is not in [0, 1), or no face is left for training.
        """
        if not (0 <= self.val < 1 and 0 <= self.test < 1 and self.val + self.test < 1):
            raise UserError(
                f"--val_fraction {self.val:g}, --test_fraction {self.test:g}: must be shares from 0 to 1 that leave "
                "some for training, such as 0.1"
            )


def deal(
    groups: Sequence[str],
    labels: Sequence[Hashable],
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    fixed: Mapping[str, str] | None = None,
) -> list[str]:
    """Deals rows to splits.

    Args:
        groups: the group of each row. All rows of a group get the same split.
        labels: the class of each row. Each split gets its share of every class, but for what groups demand; of a class
            with as many rows as there are splits, each gets one at least.
        shares: the share of each split; they add up to 1.
        seed: another seed deals otherwise.
        fixed: groups whose split stays as it is -> that split.

    Returns:
        The split of each row.
    """
    totals = Counter(labels)
    needs = {label: _targets(n, shares) for label, n in totals.items()}
    of_group: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    for group, label in zip(groups, labels, strict=True):
        of_group[group][label] += 1
    chosen = dict(fixed or {})
    for group, split in chosen.items():
        for label, n in of_group.get(group, Counter()).items():
            needs[label][split] -= n
    largest_first = sorted(of_group, key=lambda group: (-sum(of_group[group].values()), _rank(group, seed)))
    for group in [group for group in largest_first if group not in chosen]:
        counts = of_group[group]
        # A class that is rare counts as much as a common one.
        wanting = {split: sum(n * needs[c][split] / totals[c] for c, n in counts.items()) for split in shares}
        chosen[group] = split = max(shares, key=lambda split: (wanting[split], shares[split]))
        for label, n in counts.items():
            needs[label][split] -= n
    return [chosen[group] for group in groups]


def merged(*keys: Sequence[str | None]) -> list[str]:
    """The groups of rows that have a key in common, directly or by other rows.

    Args:
        keys: kinds of keys, such as the picture and the person of each row; None where a row has none.

    Returns:
        The name of each row's group, which depends on the keys in it alone, not on the order of the rows.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    of_row = []
    for i, row in enumerate(zip(*keys, strict=True)):
        named = [f"{kind}:{key}" for kind, key in enumerate(row) if key is not None] or [f"row:{i}"]
        for key in named:
            one, other = sorted((root(named[0]), root(key)))
            parent[other] = one
        of_row.append(named[0])
    return [root(key) for key in of_row]


def _targets(n: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Divides n rows by shares, by the largest remainders, with one at least for each split if there are enough."""
    exact = {split: share * n for split, share in shares.items()}
    least = 1 if n >= len(shares) else 0
    found = {split: max(least, int(value)) for split, value in exact.items()}
    while sum(found.values()) < n:
        found[max(shares, key=lambda split: exact[split] - found[split])] += 1
    while sum(found.values()) > n:
        found[max((s for s in shares if found[s] > least), key=lambda split: found[split] - exact[split])] -= 1
    return found


def _rank(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {group}".encode("utf-8", "backslashreplace")).digest()
