from __future__ import annotations

import errno
from pathlib import Path

import pytest

from fervit.io.files import is_locked, locked, whole_file, write_json


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    with whole_file(path) as aside:
        aside.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"


def test_what_was_there_survives_a_failed_write(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"value": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"value": float("nan")})
    assert '"value": 1' in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_disk_without_locks_is_a_line_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with locked(tmp_path, "sweep"):
        assert not is_locked(tmp_path)
    assert "has no locks ([Errno 37] No locks available); goes on without one" in capsys.readouterr().err
