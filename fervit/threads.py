"""How PyTorch's threads wait for each other.

Its CPU kernels are made of OpenMP regions, at whose end the threads wait for the slowest. GNU's library first waits by
computing, 300,000 turns or about a millisecond, before a thread gives up its core. Where another process wants that
core, the thread that is waited for may be the one that does not get it, in each of a step's hundreds of regions.
"""

from __future__ import annotations

import os

TURNS = "10000"
"""The turns after which a thread gives up its core, by `benchmarks/threads.py`: as fast as the library's own number
where cores are free, and many times as fast beside a process that computes."""


def share_cores() -> None:
    """Makes threads that wait give up their cores soon, unless the user has said how they wait.

    The library reads the variable when PyTorch is imported. Processes that this one starts inherit it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", TURNS)
