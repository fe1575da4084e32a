"""Deals faces to splits: stratified by class, and in groups (copies of a face, pictures of a person) that stay whole.

It decides by the seed and the names of the groups alone, so that the order of the faces does not matter.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence


def deal(groups: Sequence[str], labels: Sequence[Hashable], shares: Mapping[str, float], *, seed: int = 0) -> list[str]:
    """Deals rows to splits.

    Args:
        groups: the group of each row. All rows of a group get the same split.
        labels: the class of each row. Each split gets its share of every class, but for what groups demand; of a class
            with as many rows as there are splits, each gets one at least.
        shares: the share of each split; they add up to 1.
        seed: another seed deals otherwise.

    Returns:
        The split of each row.
    """
    totals = Counter(labels)
    needs = {label: _targets(n, shares) for label, n in totals.items()}
    of_group: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    for group, label in zip(groups, labels, strict=True):
        of_group[group][label] += 1
    chosen: dict[str, str] = {}
    largest_first = sorted(of_group, key=lambda group: (-sum(of_group[group].values()), _rank(group, seed)))
    for group in largest_first:
        counts = of_group[group]
        # A class that is rare counts as much as a common one.
        wanting = {split: sum(n * needs[c][split] / totals[c] for c, n in counts.items()) for split in shares}
        chosen[group] = split = max(shares, key=lambda split: (wanting[split], shares[split]))
        for label, n in counts.items():
            needs[label][split] -= n
    return [chosen[group] for group in groups]


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
