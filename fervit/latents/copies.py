"""Pictures that are in two splits, by the hashes of their content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def count_copies(sha256: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Counts the rows of each split whose picture is in an earlier one, too."""
    names = list(sha256)
    known = {name: {digest for digest in sha256[name] if digest} for name in names}
    return {
        f"{one} in {other}": sum(digest in known[other] for digest in sha256[one])
        for i, one in enumerate(names)
        for other in names[:i]
    }


def copies_in_words(copies: Mapping[str, int], *, rows: Mapping[str, int] | None = None) -> str:
    """Writes which splits share pictures on a line, and what that does to the results.

    Args:
        copies: from `count_copies`.
        rows: the number of rows of each split; None leaves them out.
    """
    found = []
    for pair, n in copies.items():
        one, _, other = pair.partition(" in ")
        if n:
            found.append(f"{n}{f' of {rows[one]}' if rows else ''} {one} faces are also in {other}")
    if not found:
        return "copies of a face in two splits: none"
    return f"copies: {'; '.join(found)}: they reward a model that remembers"
