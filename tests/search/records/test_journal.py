from __future__ import annotations

from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.search.records.journal import FILE, Journal, elapsed_seconds, read_journal


def test_a_line_that_was_cut_off_is_removed_and_a_damaged_one_named(tmp_path: Path) -> None:
    path = tmp_path / FILE
    journal = Journal(path)
    journal.append("session")
    journal.append("end", name="a", state="stopped", failure="")
    with path.open("ab") as file:
        file.write(b'{"event": "epo')
    assert [event["event"] for event in read_journal(path)] == ["session", "end"]
    Journal(path).append("session")
    assert [event["event"] for event in read_journal(path)] == ["session", "end", "session"]
    path.write_bytes(b"{\n" + path.read_bytes())
    with pytest.raises(UserError, match="line 1 is damaged"):
        read_journal(path)


def test_the_time_between_two_sessions_does_not_count() -> None:
    times = [("session", 100), ("epoch", 110), ("session", 1000), ("epoch", 1030)]
    assert elapsed_seconds({"event": kind, "time": time} for kind, time in times) == 40
