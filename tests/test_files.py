from __future__ import annotations

from pathlib import Path

import pytest

from fervit.files import whole_file, write_json


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
