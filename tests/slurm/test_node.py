from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

import pytest

from fervit.errors import JobError
from fervit.slurm import node


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as short, and the only one on this machine."""
    monkeypatch.setattr(node, "LONGEST", 4096)
    monkeypatch.setattr(node, "CANDIDATES", ("FERVIT_TMP",))
    return tmp_path


def test_a_job_has_a_folder_of_its_own_that_ends_with_it(short: Path) -> None:
    environment = {"FERVIT_TMP": str(short), "SLURM_JOB_ID": "7"}
    with node.own_folder(environment) as one, node.own_folder(environment) as two:
        assert one != two
        assert one.parent == two.parent == short
        assert one.stat().st_mode & 0o777 == 0o700
        assert one.is_dir()  # the second one did not take it for a left-over
    assert list(short.iterdir()) == []


def test_what_a_killed_job_left_is_removed_by_the_next_one(short: Path) -> None:
    dead, alive = (short / f"{node.PREFIX}{os.getuid()}_{name}_x" for name in (1, 2))
    for folder in (dead, alive):
        folder.mkdir()
        (folder / ".lock").touch()
    with (alive / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with node.own_folder({"FERVIT_TMP": str(short)}):
            assert not dead.exists()
            assert alive.exists()


def test_a_folder_that_another_job_removes_before_it_is_locked_is_made_again(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Path] = []
    lock = fcntl.flock

    def late(file: IO[str], how: int) -> None:
        if not removed:
            removed.append(Path(file.name).parent)
            node._remove_left_over(short)  # as another job of this user does at this moment
            assert not removed[0].exists()
        lock(file, how)

    monkeypatch.setattr(
        node.fcntl, "flock", lambda file, how: late(file, how) if how == fcntl.LOCK_EX else lock(file, how)
    )
    with node.own_folder({"FERVIT_TMP": str(short)}) as folder:
        assert folder.is_dir()
        assert folder != removed[0]
        node._remove_left_over(short)
        assert folder.is_dir()


def test_a_node_without_a_usable_folder_says_why(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "NEEDED", 2**60)
    with pytest.raises(JobError, match=r"MiB free of the .* that are needed; make room, or .* FERVIT_TMP"):
        node.own_folder({"FERVIT_TMP": str(short)}).__enter__()
    monkeypatch.setattr(node, "LONGEST", 5)
    with pytest.raises(JobError, match="is too long a name for sockets"):
        node.own_folder({"FERVIT_TMP": str(short)}).__enter__()
