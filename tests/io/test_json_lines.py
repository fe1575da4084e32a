from __future__ import annotations

from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.io.json_lines import JsonLines, each_row, read_new_rows, read_rows, text_of


def test_rows_are_read_as_they_were_appended(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    rows = [{"name": "ä", "value": 0.1}, {"values": [1, None, "x\ny"]}]
    lines = JsonLines(path)
    for row in rows:
        lines.append(row)
    lines.close()
    assert read_rows(path) == rows
    path.write_text(text_of(rows), encoding="utf-8")
    assert read_rows(path) == rows


def test_a_line_that_a_kill_cut_off_is_never_read_and_never_continued(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2')
    assert read_rows(path) == [{"a": 1}]
    JsonLines(path).append({"a": 3})
    assert read_rows(path) == [{"a": 1}, {"a": 3}]


@pytest.mark.parametrize("damage", [b"{", b"[1]", b"\xff\xfe", b""])
def test_what_happens_at_a_damaged_line_is_the_readers_choice(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + damage + b'\n{"a": 2}\n')
    with pytest.raises(UserError, match="line 2 is damaged"):
        read_rows(path)
    assert read_rows(path, damaged="stop") == [{"a": 1}]
    assert read_rows(path, damaged="skip") == [{"a": 1}, {"a": 2}]
    assert list(each_row(path, damaged="skip")) == [{"a": 1}, {"a": 2}]
    assert next(each_row(path)) == {"a": 1}


def test_a_follower_reads_each_row_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_new_rows(path, 0) == ([], 0)
    path.write_bytes(b'{"a": 1}\n{"a": ')
    rows, offset = read_new_rows(path, 0)
    assert rows == [{"a": 1}]
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n')
    assert read_new_rows(path, offset) == ([{"a": 2}], 18)
