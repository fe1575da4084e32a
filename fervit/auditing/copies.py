"""Finds copies of a picture: exact ones by a hash of the pixels, near ones by a perceptual hash and the thumbnails.

The perceptual hash is that of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), as
`imagehash` computes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fervit.auditing.pictures import Pictures, Rows
from fervit.labels.emotions import SPLITS

BITS, DISTANCE = 64, 6
"""The bits of a hash, and the largest number of bits in which the hashes of near copies differ."""
BANDS = DISTANCE + 1
"""Two hashes that differ in at most `DISTANCE` bits are equal in one of so many bands of bits."""
LARGEST_BUCKET = 2000
"""Hashes that more pictures share in a band say nothing, such as those of pictures of one colour."""
CORRELATION = 0.97
"""The least correlation between the thumbnails of near copies."""
FLAT = 4.0
"""Pictures of less contrast have no near copies: their hashes are noise."""


def exact_copies(rows: Rows) -> list[list[int]]:
    """Finds the groups of rows with the same pixels.

    Args:
        rows: the data set.

    Returns:
        The row numbers of each group of two or more, in ascending order.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(rows.digests):
        if digest:
            groups[digest].append(row)
    return [group for group in groups.values() if len(group) > 1]


def near_copies(pictures: Pictures) -> list[list[int]]:
    """Finds the groups of rows whose pictures are nearly the same: shifted by a pixel, compressed again, brightened.

    Of exact copies only the first is compared.

    Args:
        pictures: the data set.

    Returns:
        The row numbers of each group of two or more, in ascending order.
    """
    first = {digest: row for row, digest in reversed(list(enumerate(pictures.digests))) if digest}
    rows = np.array(sorted(row for row in first.values() if pictures.contrast[row] >= FLAT), dtype=np.int64)
    if len(rows) < 2:
        return []
    pairs = _close_pairs(pictures.hashes[rows])
    flat = pictures.thumbnails[rows].reshape(len(rows), -1)
    alike = _correlations(flat, pairs) >= CORRELATION
    a, b = pairs[alike].T
    if not len(a):
        return []
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(len(rows), len(rows)))
    return [rows[group].tolist() for group in _components(graph)]


def crossing(groups: Sequence[Sequence[int]], splits: np.ndarray) -> dict[str, int]:
    """Counts the rows of each split that have a copy in an earlier one.

    Args:
        groups: groups of copies.
        splits: the split of each row.

    Returns:
        The counts, such as {"val in train": 280}; pairs of splits without copies are left out.
    """
    counts: dict[str, int] = defaultdict(int)
    order = sorted(set(splits.tolist()), key=_rank)
    for group in groups:
        of_group = splits[list(group)].tolist()
        for i, split in enumerate(order):
            for earlier in order[:i]:
                if earlier in of_group:
                    counts[f"{split} in {earlier}"] += of_group.count(split)
    return {pair: n for pair, n in counts.items() if n}


def surplus(groups: Sequence[Sequence[int]], splits: np.ndarray) -> dict[int, int]:
    """Chooses which copies to leave out so that each picture appears in the data set once.

    It stays in the split that judges most: test rather than val rather than train, so that published test sets stay
    whole, and in that split its first row stays.

    Returns:
        Each row to leave out -> the row of its group that stays.
    """
    left_out: dict[int, int] = {}
    for group in groups:
        kept = min(group, key=lambda row: (-_rank(str(splits[row])), row))
        left_out |= {row: kept for row in group if row != kept}
    return left_out


def conflicting(groups: Sequence[Sequence[int]], labels: np.ndarray) -> list[list[int]]:
    """Returns the groups whose rows have more than one label; unknown labels (-1) contradict none."""
    return [list(group) for group in groups if len({int(labels[row]) for row in group} - {-1}) > 1]


def _rank(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def _close_pairs(hashes: np.ndarray) -> np.ndarray:
    """The pairs [m, 2] of hashes, uint64 [n], that differ in at most `DISTANCE` bits.

    Only hashes that are equal in one of `BANDS` bands of bits are compared. That misses none, but for those that more
    than `LARGEST_BUCKET` hashes share.
    """
    found = []
    edges = np.linspace(0, BITS, BANDS + 1).round().astype(int)
    for low, high in pairwise(edges.tolist()):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order])) + 1
        for bucket in np.split(order, starts):
            if 1 < len(bucket) <= LARGEST_BUCKET:
                differ = np.bitwise_count(hashes[bucket][:, None] ^ hashes[bucket][None, :])
                a, b = np.nonzero(np.triu(differ <= DISTANCE, 1))
                found.append(np.sort(np.stack([bucket[a], bucket[b]], axis=1), axis=1))
    pairs: np.ndarray = np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), np.int64)
    return pairs


def _correlations(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The correlation between the thumbnails, uint8 [n, pixels], of each pair [m, 2]."""
    result = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), 4096):
        a, b = (values[pairs[start : start + 4096, side]].astype(np.float32) for side in (0, 1))
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
        scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        result[start : start + 4096] = (a * b).sum(axis=1) / np.maximum(scale, 1e-6)
    return result


def _components(graph: coo_array) -> list[np.ndarray]:
    """The connected parts of a graph with two nodes or more, the nodes of each in ascending order."""
    _, part = connected_components(graph, directed=False)
    order = np.argsort(part, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(part[order])) + 1)
    return [group for group in groups if len(group) > 1]
