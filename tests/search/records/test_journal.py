from __future__ import annotations

from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.search.records.events import SessionBegan, SweepDone, TrialEnded
from fervit.search.records.journal import JournalFile, elapsed_seconds, read_journal


def test_a_line_that_was_cut_off_is_removed_and_a_damaged_one_named(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = JournalFile(path)
    journal.append(SessionBegan)
    journal.append(TrialEnded, name="a", state="stopped")
    with path.open("ab") as file:
        file.write(b'{"event": "epo')
    assert [type(event) for event in read_journal(path)] == [SessionBegan, TrialEnded]
    JournalFile(path).append(SessionBegan)
    assert [type(event) for event in read_journal(path)] == [SessionBegan, TrialEnded, SessionBegan]
    path.write_bytes(b"{\n" + path.read_bytes())
    with pytest.raises(UserError, match="line 1 is damaged"):
        read_journal(path)


def test_the_time_between_two_sessions_does_not_count() -> None:
    kinds = [(SessionBegan, 100), (SweepDone, 110), (SessionBegan, 1000), (SweepDone, 1030)]
    assert elapsed_seconds(kind(time=time) for kind, time in kinds) == 40
