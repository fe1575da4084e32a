from __future__ import annotations

import random
from collections import Counter

from fervit.labels.dealing import deal

SHARES = {"train": 0.7, "val": 0.2, "test": 0.1}


def test_each_split_gets_its_share_of_each_class_and_no_group_is_divided() -> None:
    labels = ["common"] * 200 + ["rare"] * 20 + ["three"] * 3
    groups = [f"face {i}" for i in range(150)] + [f"face {i}" for i in range(50)] + [f"other {i}" for i in range(23)]
    dealt = deal(groups, labels, SHARES)
    counts = Counter(zip(labels, dealt, strict=True))
    assert [counts["common", split] for split in SHARES] == [140, 40, 20]
    assert [counts["rare", split] for split in SHARES] == [14, 4, 2]
    assert [counts["three", split] for split in SHARES] == [1, 1, 1]
    assert all(len({split for group, split in zip(groups, dealt, strict=True) if group == one}) == 1 for one in groups)


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    groups, labels = [f"face {i}" for i in range(60)], [i % 3 for i in range(60)]
    order = random.Random(0).sample(range(60), 60)
    dealt = deal(groups, labels, SHARES)
    assert deal([groups[i] for i in order], [labels[i] for i in order], SHARES) == [dealt[i] for i in order]
    assert deal(groups, labels, SHARES, seed=1) != dealt
