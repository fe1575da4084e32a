"""The states that a power cut can leave are those of a weak file system: none is missing, and none is made up."""

from __future__ import annotations

from pathlib import Path

from fervit.io.disk import AppendedFile, make_folder, new_file_aside, remove, remove_tree, rename, sync_written
from fervit.io.files import whole_file, write_text
from fervit.io.json_lines import JsonLines
from tests.crash.recorder import Recording, Step, recorded
from tests.crash.states import TREE, states


def trees(recording: Recording, at: int | None = None) -> list[TREE]:
    """Returns the states after all steps, or after so many."""
    steps = len(recording.steps) if at is None else at
    told = [*recording.steps[:steps], Step(kind="promise")]  # after which all states count anew
    return [state.tree for state in states(Recording(recording.folder, told)) if state.steps == len(told)]


def test_what_is_appended_may_be_lost_torn_or_zeros_until_it_is_synced(tmp_path: Path) -> None:
    with recorded(tmp_path) as recording:
        file = AppendedFile(tmp_path / "rows")
        file.append(b"first\n")
        file.sync()
        file.append(b"second")
    found = {tree["rows"] for tree in trees(recording)}
    assert found >= {b"first\nsecond", b"first\nsec", b"first\n", b"first\n" + bytes(6)}
    assert all(content is not None and content.startswith(b"first\n") for content in found)
    with recorded(tmp_path) as recording:
        file.append(b"third")
        recording.promise("saved")
        file.sync()
    assert recording.promised(2) == ["saved"]


def test_a_later_write_may_be_there_without_an_earlier_one(tmp_path: Path) -> None:
    with recorded(tmp_path) as recording:
        file = AppendedFile(tmp_path / "rows")
        file.append(b"ab")
        file.append(b"cd")
    assert {b"\0\0cd", b"ab", b"", b"abcd"} <= {tree["rows"] for tree in trees(recording)}


def test_a_truncation_may_be_lost_and_is_then_written_over(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b'{"n": 1}\n{"n": 2')
    before = Recording.of_state(tmp_path, {"rows": b'{"n": 1}\n{"n": 2'})
    with recorded(tmp_path, before) as recording:
        lines = JsonLines(tmp_path / "rows")
        lines.append({})
    found = {tree["rows"] for tree in trees(recording)}
    assert found >= {b'{"n": 1}\n', b'{"n": 1}\n{"n": 2', b'{"n": 1}\n{}\n', b'{"n": 1}\n{}\n": 2'}


def test_a_name_may_be_lost_until_its_folder_is_synced(tmp_path: Path) -> None:
    with recorded(tmp_path) as recording:
        write_text(tmp_path / "value", "old")
        with whole_file(tmp_path / "value", one_of_many=True) as aside:
            aside.write_text("new")
    contents = [tree["value"] for tree in trees(recording)]
    assert set(contents) == {b"old", b"new"}
    settled = trees(recording, at=5)
    assert [tree["value"] for tree in settled] == [b"old"]


def test_a_file_that_was_renamed_before_it_was_synced_may_be_empty(tmp_path: Path) -> None:
    with recorded(tmp_path) as recording:
        aside = new_file_aside(tmp_path / "value")
        aside.write_text("content")
        with aside.open() as file:
            assert file.read() == "content"
        rename(aside, tmp_path / "value")
        sync_written(tmp_path / "value")
    unsynced = [step for step in recording.steps if step.kind != "sync"]
    assert b"" in {tree.get("value") for tree in trees(Recording(tmp_path, unsynced))}


def test_a_folder_that_is_lost_takes_all_in_it_along_and_half_of_one_may_be_left(tmp_path: Path) -> None:
    with recorded(tmp_path) as recording:
        make_folder(tmp_path / "a")
        for name in "xyz":
            write_text(tmp_path / "a" / name, name)
        remove_tree(tmp_path / "a")
    found = {tuple(sorted(tree)) for tree in trees(recording)}
    assert {(), ("a", "a/x", "a/y", "a/z"), ("a", "a/y", "a/z"), ("a", "a/x", "a/y")} <= found
    without = [step for step in recording.steps if step.kind not in ("sync folder", "remove", "remove folder")]
    assert () in {tuple(tree) for tree in trees(Recording(tmp_path, without))}


def test_what_is_removed_may_come_back_until_its_folder_is_synced(tmp_path: Path) -> None:
    with recorded(tmp_path) as recording:
        write_text(tmp_path / "value", "old")
        remove(tmp_path / "value")
    assert {tuple(tree) for tree in trees(recording)} == {(), ("value",)}
