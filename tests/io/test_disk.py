"""What is written goes through `fervit/io/disk.py`, and is synced where something relies on it."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fervit.io.disk import Operation, make_folder, remove_tree, watched
from fervit.io.files import whole_file, write_text
from fervit.io.json_lines import JsonLines
from tests.conftest import ROOT

EXCEPTIONS = {
    "fervit/search/workers/mps.py": "pipes and logs on a node's own disk, which end with the sweep",
    "fervit/io/disk.py": "the one place",
    "fervit/io/files.py": "locks, whose files are empty",
    "fervit/io/storage.py": "file systems that are not local, by pyarrow",
    "fervit/api/doctor.py": "a folder for a look at Ray, which is gone afterwards",
    "fervit/cluster/local_ray.py": "the folder of Ray's sockets",
    "fervit/cluster/ray_output.py": "ray.log, in which Ray writes",
    "fervit/cluster/shared_folder.py": "a probe, which is removed at once",
    "fervit/diagnosis/paths.py": "a probe, which is removed at once",
    "fervit/runs/process.py": "ray.log, in which the training's process writes, its lock, and a temporary file",
    "fervit/runs/tensorboard.py": "TensorBoard's logs, beside the history",
    "fervit/search/workers/tuner.py": "a file that Ray Tune asks for and fervit never reads",
    "fervit/slurm/node.py": "the folder of a job's own Ray, on the node's disk",
    "fervit/system/streams.py": "/dev/null",
    "fervit/system/surroundings.py": "a temporary folder for caches of libraries, and a probe",
}
"""The modules that may change files by themselves, and why nothing that is to last is among these."""
METHODS = {
    *("unlink", "rename", "touch", "mkdir", "rmdir", "write_text", "write_bytes", "hardlink_to", "symlink_to", "chmod"),
    *("savefig", "open_output_stream", "open_append_stream", "delete_file", "delete_dir", "create_dir", "copy_file"),
    *("rmtree", "copyfile", "copy2", "copytree", "move", "write_table", "to_csv", "to_parquet", "save_file"),
    *("ParquetWriter", "SummaryWriter", "mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryFile", "makedirs"),
    *("TemporaryDirectory", "link", "symlink", "truncate", "fsync", "removedirs", "renames", "save"),
}
OF_MODULES = {("os", "remove"), ("os", "replace"), ("os", "open"), ("shutil", "copy")}
"""Functions whose names alone say nothing."""


def written(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the line and the name of each call of a module that changes a file which is not one aside or in memory."""
    tree = ast.parse(path.read_text())
    aside, ours = set(names_aside(tree)), set(names_of_fervit(tree))
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name, owner = called(call)
        if name == "open" and owner != "os":
            modes = [*call.args[:2], *(word.value for word in call.keywords if word.arg == "mode")]
            changes = any(isinstance(m, ast.Constant) and set(str(m.value)) & set("wax+") for m in modes)
        else:
            changes = name in METHODS or (owner, name) in OF_MODULES
        if isinstance(call.func, ast.Name) and name in ours:
            continue
        touched = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
        if changes and not touched & aside:
            yield call.lineno, name


def called(call: ast.Call) -> tuple[str, str]:
    """Returns the name of a called function, and the name of the module or object that it belongs to, if any."""
    if isinstance(call.func, ast.Attribute):
        owner = call.func.value
        return call.func.attr, owner.id if isinstance(owner, ast.Name) else ""
    return (call.func.id, "") if isinstance(call.func, ast.Name) else ("", "")


def names_of_fervit(tree: ast.AST) -> Iterator[str]:
    """Yields the names of functions that the module defines itself or imports from another one of fervit."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "fervit":
            yield from (name.asname or name.name for name in node.names)


def names_aside(tree: ast.AST) -> Iterator[str]:
    """Yields the names of files that `whole_file` or `write_whole` hands out, and of buffers in memory."""
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and isinstance(node.context_expr, ast.Call):
            if called(node.context_expr)[0] == "whole_file" and isinstance(node.optional_vars, ast.Name):
                yield node.optional_vars.id
        elif isinstance(node, ast.Call) and called(node)[0] == "write_whole":
            for each in node.args:
                if isinstance(each, ast.Lambda):
                    yield from (argument.arg for argument in each.args.args)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and called(node.value)[0] == "BytesIO":
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "fervit").rglob("*.py"))


def test_files_are_changed_in_one_place_only() -> None:
    found = {name: list(written(ROOT / name)) for name in MODULES}
    wrong = [f"{name}:{line} {what}" for name, lines in found.items() for line, what in lines if name not in EXCEPTIONS]
    assert not wrong, "write through fervit.io.disk, fervit.io.files, fervit.io.json_lines or fervit.io.storage"
    assert [name for name in EXCEPTIONS if not found.get(name)] == [], "these need no exception any more"


@pytest.mark.parametrize(
    "line",
    [
        "path.write_text('x')",
        "open(path, 'w')",
        "path.open(mode='ab')",
        "os.replace(a, b)",
        "shutil.rmtree(folder)",
        "torch.save(state, path)",
        "with whole_file(path) as aside:\n    torch.save(state, path)",
    ],
)
def test_the_rule_sees_what_changes_a_file(line: str, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(line)
    assert len(list(written(module))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "path.open()",
        "open(path, 'rb')",
        "with whole_file(path) as aside:\n    torch.save(state, aside)",
        "a.replace(b, c)",
    ],
)
def test_the_rule_lets_pass_what_changes_none(line: str, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(line)
    assert not list(written(module))


def kinds(operations: list[Operation], folder: Path) -> list[str]:
    """Returns the operations as "kind path", with the path below a folder."""
    return [f"{one.kind} {one.path.relative_to(folder).as_posix().split('.part')[0]}" for one in operations]


def test_a_file_and_its_name_are_synced_before_the_block_ends(tmp_path: Path) -> None:
    operations: list[Operation] = []
    with watched(operations.append):
        with whole_file(tmp_path / "new" / "part") as aside:
            aside.write_text("whole")
        write_text(tmp_path / "new" / "part", "again")
    name = "new/"
    assert kinds(operations, tmp_path) == [
        *("make folder new", "sync folder ."),
        *2 * (*(f"create {name}", f"write {name}", f"sync {name}", f"rename {name}", "sync folder new"),),
    ]
    assert (tmp_path / "new" / "part").read_text() == "again"


def test_a_row_is_synced_when_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": ')
    operations: list[Operation] = []
    with watched(operations.append):
        lines = JsonLines(path)
        lines.append({"n": 2})
        lines.sync()
        lines.close()
    assert [one.kind for one in operations] == ["truncate", "append", "sync"]
    assert path.read_text() == '{"n": 1}\n{"n": 2}\n'


def test_a_tree_that_is_removed_is_told_from_its_leaves(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    write_text(tmp_path / "a" / "b" / "c", "")
    operations: list[Operation] = []
    with watched(operations.append):
        remove_tree(tmp_path / "a")
        remove_tree(tmp_path / "missing")
    assert kinds(operations, tmp_path) == ["remove a/b/c", "remove folder a/b", "remove folder a"]
    assert os.listdir(tmp_path) == []  # noqa: PTH208
