from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
