from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.hosts import Hosts
from tests.helpers.slurm import Slurm, why_no_slurm


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
