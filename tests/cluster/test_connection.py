from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fervit.cluster.connection import is_here
from tests.helpers.own_ray import OwnRay

CONNECT = """
import sys, time
from pathlib import Path
from fervit.cluster.connection import connect
import ray
started = time.monotonic()
try:
    with connect(None, Path(sys.argv[1])) as cluster:
        print(cluster.started_here)
except Exception:
    print(time.monotonic() - started)
    raise
"""


def test_an_address_where_nothing_listens_is_told_at_once(tmp_path: Path) -> None:
    script = CONNECT.replace("None", "'127.0.0.1:1'")
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "ray.log"], capture_output=True, text=True)
    assert "UserError: --address 127.0.0.1:1: nothing listens there" in done.stderr
    assert float(done.stdout) < 60  # Ray itself waits for more than a minute


def test_a_killed_cluster_of_which_a_file_still_speaks_is_not_waited_for(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="fr"))  # short: Ray's sockets have their paths there
    try:
        (folder / "ray").mkdir()
        (folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        done = subprocess.run(
            [sys.executable, "-c", CONNECT, tmp_path / "ray.log"],
            capture_output=True,
            text=True,
            env={**environment, "RAY_TMPDIR": str(folder)},
        )
        assert done.stdout == "True\n", done.stderr
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.long
def test_a_ray_of_this_machine_that_asks_for_the_users_token_is_joined_by_its_address(tmp_path: Path) -> None:
    """`ray start` asks for a token as soon as the user has one, which plain Ray makes for its first local cluster."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="fr"))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    home = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {"HOME": str(tmp_path)}
    ray = OwnRay(folder, folder.name, home)
    try:
        ray.start()
        script = CONNECT.replace("None", f"'{ray.address}'")
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "ray.log"],
            capture_output=True,
            text=True,
            env=home,
        )
        assert done.stdout == "False\n", done.stderr
        assert not done.stderr
    finally:
        ray.end()
        shutil.rmtree(folder, ignore_errors=True)


def test_only_addresses_of_this_machine_are_here() -> None:
    assert is_here("127.0.0.1:6379")
    assert is_here("localhost:1")
    assert not is_here("192.0.2.77:6379")
    assert not is_here("ray://head:10001")
    assert not is_here("auto")
