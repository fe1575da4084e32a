from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.hosts import Hosts
from tests.helpers.slurm import Slurm, why_no_slurm
from tests.helpers.time_limits import CUT, CUTS, begin, cut_each


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A Slurm on three hosts and the operator's, which are removed after the tests."""
    if why := why_no_slurm():
        pytest.skip(why)
    share = Path(tempfile.mkdtemp(prefix="fervit_slurm_", dir="/srv"))
    hosts = Hosts(3, share)
    try:
        hosts.up()
        made = Slurm(hosts)
        made.up()
        yield made
    finally:
        hosts.down()
        shutil.rmtree(share, ignore_errors=True)


@pytest.fixture(scope="session")
def cut_sweep(slurm: Slurm) -> Iterator[Future[tuple[str, Path]]]:
    """The job and the folder of a sweep of three nodes that is cut twice, while other jobs run on the same nodes.

    Slurm's limits are whole minutes, so the tests do not wait for them one after the other.
    """
    job, folder = begin(slurm, CUT, nodes=3, minutes=3)

    def cuts() -> tuple[str, Path]:
        cut_each(slurm, job, folder, CUTS)
        return job, folder

    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(cuts)
        finally:
            slurm.run(f"scancel {job}")  # a job that is over stays as it is
