"""What other methods do with paused trials, for `benchmarks.epochs`: one epoch each, ASHA that promotes, and PASHA."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fervit.search.records.record import TrialRecord

SOFT = 0.025
"""PASHA's epsilon: values that are nearer than this count as equal, as in its paper."""


class _Values:
    """What all of them note of the trials."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._names: list[str] = []
        self._at: dict[str, dict[int, float]] = {}
        """The name of each trial -> its best value so far at each epoch; a higher one is better."""
        self._failed: set[str] = set()

    def drawn(self, record: TrialRecord) -> None:
        """Notes a trial."""
        self._names.append(record.name)

    def learn(self, name: str, epoch: int, best_value: float) -> None:
        """Notes a value."""
        self._at.setdefault(name, {})[epoch] = self._sign * best_value

    def failed(self, name: str) -> None:
        """Notes a failure."""
        self._failed.add(name)

    def surplus(self, paused: Sequence[str]) -> str | None:
        """Returns None: as many pause as like to."""
        return None

    def expected(self) -> dict[str, float]:
        """Returns nothing: the choice is the best value."""
        return {}

    def reason(self, name: str) -> str:
        """Returns nothing."""
        return ""

    def _fresh(self, paused: Collection[str]) -> str | None:
        return next((name for name in self._names if name in paused and name not in self._at), None)


class OneEpoch(_Values):
    """Trains all configurations for one epoch, and then the best of them to the end (arXiv 2307.15422).

    Args:
        keep: how many are trained to the end.
        total: how many configurations there are.
        sign: 1 if a higher value is better, otherwise -1.
    """

    def __init__(self, keep: int, total: int, sign: int) -> None:
        super().__init__(sign)
        self._keep, self._total = keep, total

    def pauses(self, name: str, epoch: int, paused: Collection[str], busy: Collection[str]) -> bool:
        """Returns whether it is the first epoch."""
        return epoch == 1

    def choose(self, paused: Collection[str], busy: Collection[str]) -> str | None:
        """Returns one that has not begun; then the best of the kept ones."""
        fresh = self._fresh(paused)
        if fresh is not None or len(self._at) < self._total:
            return fresh
        kept = sorted(self._at, key=lambda name: (-self._at[name][1], name))[: self._keep]
        return next((name for name in kept if name in paused), None)


class Promotion(_Values):
    """ASHA as its paper has it (Li et al., 2020): trials pause at each rung, and the best third is promoted.

    Args:
        epochs: the last epoch.
        sign: 1 if a higher value is better, otherwise -1.
        factor: the factor between two rungs.
    """

    def __init__(self, epochs: int, sign: int, factor: int = 3) -> None:
        super().__init__(sign)
        self._factor, self._rungs = factor, [1]
        while self._rungs[-1] * factor < epochs:
            self._rungs.append(self._rungs[-1] * factor)
        self._promoted: list[set[str]] = [set() for _ in self._rungs]

    def pauses(self, name: str, epoch: int, paused: Collection[str], busy: Collection[str]) -> bool:
        """Returns whether it is a rung."""
        return epoch in self._rungs

    def choose(self, paused: Collection[str], busy: Collection[str]) -> str | None:
        """Returns the one to be promoted from the highest rung that has one; else one that has not begun."""
        for i in range(self._highest(), -1, -1):
            there = self._ranked(i)
            best = there[: len(there) // self._factor]
            found = next((name for name in best if name in paused and name not in self._promoted[i]), None)
            if found is not None:
                self._promoted[i].add(found)
                return found
        return self._fresh(paused)

    def _highest(self) -> int:
        """Returns the highest rung that trials are promoted from."""
        return len(self._rungs) - 1

    def _ranked(self, i: int) -> list[str]:
        rung = self._rungs[i]
        there = [name for name in self._at if rung in self._at[name] and name not in self._failed]
        return sorted(there, key=lambda name: (-self._at[name][rung], name))


class Pasha(Promotion):
    """PASHA's idea (Bohdal et al., 2023): ASHA whose last rung rises only while the ranking still changes."""

    def __init__(self, epochs: int, sign: int, factor: int = 3) -> None:
        super().__init__(epochs, sign, factor)
        self._last = min(2, len(self._rungs) - 1)

    def pauses(self, name: str, epoch: int, paused: Collection[str], busy: Collection[str]) -> bool:
        """Returns whether it is a rung; at the last one the rankings of the last two rungs are compared."""
        if epoch == self._rungs[self._last] and self._last < len(self._rungs) - 1 and self._changes():
            self._last += 1
        return epoch in self._rungs

    def _highest(self) -> int:
        return self._last if self._last == len(self._rungs) - 1 else self._last - 1

    def _changes(self) -> bool:
        """Returns whether a trial of the last rung was in another place at the rung before, beyond the noise."""
        above, rung = self._ranked(self._last), self._rungs[self._last - 1]
        below = sorted(above, key=lambda name: (-self._at[name][rung], name))
        values = [self._at[name][rung] for name in below]
        return any(abs(self._at[name][rung] - value) > SOFT for name, value in zip(above, values, strict=True))
