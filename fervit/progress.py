"""Progress: one line with rate and time left, silent where there is no terminal; and times as people write them."""

from __future__ import annotations

from collections.abc import Callable

from tqdm import tqdm


class Progress:
    """Counts what is done and what failed.

    Args:
        total: how many there are.
        unit: what is counted, in the plural.
        label: what is being done.
    """

    def __init__(self, total: int, unit: str, label: str) -> None:
        self.done = self.failed = 0
        self._bar = tqdm(total=total, unit=f" {unit}", desc=label, disable=None, dynamic_ncols=True, smoothing=0.1)

    def add(self, done: int, failed: int = 0) -> None:
        self.done += done
        self.failed += failed
        self._bar.set_postfix(failed=self.failed, refresh=False)
        self._bar.update(done + failed)

    def close(self) -> None:
        self._bar.close()


def clock(seconds: float) -> str:
    """75 -> "1:15"; 3700 -> "1:01:40"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


Say = Callable[[str], None]
