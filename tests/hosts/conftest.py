from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.hosts import Hosts, RayUp, why_not


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    """The operator's machine and three hosts with a shared folder, which are removed after the tests."""
    if why_not():
        pytest.skip(why_not())
    share = Path(tempfile.mkdtemp(prefix="fervit_share_"))
    made = Hosts(3, share)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(share, ignore_errors=True)


@pytest.fixture(scope="session")
def encoded(ray_up: RayUp) -> str:
    """The output of the encoding job that wrote `latents` into the shared folder."""
    draw = "python ~/fervit/launch/demo_faces.py --output_dir faces --train 30 --val 7 --test 6"
    ray_up.hosts.check(1, f"cd {ray_up.hosts.share} && {draw}")
    encode = "encode.py --data_root faces --latent_out latents --encoder_type demo --limit 300"
    status, printed = ray_up.job("faces", encode)
    assert status == "SUCCEEDED", printed
    return printed


@pytest.fixture(scope="session")
def ray_up(hosts: Hosts) -> RayUp:
    """A Ray cluster on the three hosts. Its processes end with the hosts."""
    cluster = RayUp(hosts, hosts.share / "cluster.yaml")
    cluster.up()
    return cluster
