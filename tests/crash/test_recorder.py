"""The recorded steps are what the system was asked for: a real sweep is recorded and traced by strace at once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from tests.conftest import ROOT

SWEEP = """
import sys
from pathlib import Path
from tests.crash import sweeps
from tests.crash.recorder import recorded
root = Path(sys.argv[1])
with recorded(root) as recording:
    sweeps.command(root, sweeps.space(trials=3, confirm=1), whole=True)
for step in recording.steps:
    print(step.kind, step.path, step.target, sep="\\t")
"""
CALLS = (
    "openat,open,write,pwrite64,writev,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,ftruncate"
)
CALLED = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)\) += (\S+)")
Change = tuple[str, str]
"""What was changed how, such as ("sync", "trials.jsonl")."""
KINDS = {"append": "write", "sync folder": "sync", "remove folder": "remove"}


def traced(lines: list[str], root: Path) -> Iterator[Change]:
    """Yields the changes below a folder among the lines of `strace -y`."""
    for line in lines:
        found = CALLED.match(line)
        if found is None or found[3].startswith("-") or str(root) not in line:
            continue
        name, arguments = found[1], found[2]
        quoted = [inside(path, root) for path in re.findall(r'"([^"]*)"', arguments) if path.startswith(str(root))]
        opened = re.match(r"\d+<([^>]*)>", arguments)
        if any("/.tmp" in f"/{path}" for path in quoted) or (opened and "/.tmp" in opened[1]):
            if name.startswith("rename"):  # safetensors writes into a file of its own, and renames it to the one aside
                yield "write", quoted[1]
        elif name.startswith("open") and "O_CREAT" in arguments:
            yield "create", quoted[0]
        elif name.startswith("rename"):
            yield "rename", "\t".join(quoted)
        elif name.startswith("unlink") or name == "rmdir":
            # shutil.rmtree names what it removes by an open folder and a name inside of it
            folder = re.match(r'(?:AT_FDCWD[^,]*|\d+<([^>]*)>), "([^"]*)"', arguments)
            path = f"{folder[1]}/{folder[2]}" if folder and folder[1] and not folder[2].startswith("/") else ""
            yield "remove", inside(path, root) if path else quoted[0]
        elif name.startswith("mkdir"):
            yield "make folder", quoted[0]
        elif opened and opened[1].startswith(str(root)):
            kind = {"fsync": "sync", "ftruncate": "truncate"}.get(name, "write")
            if not name.startswith("open"):
                yield kind, inside(opened[1], root)


def inside(path: str, root: Path) -> str:
    return path[len(str(root)) :].lstrip("/")


def told(lines: list[str]) -> Iterator[Change]:
    """Yields the changes that the recorder wrote down."""
    for line in lines:
        kind, path, target = line.split("\t")
        yield KINDS.get(kind, kind), f"{path}\t{target}" if kind == "rename" else path


def in_order(changes: list[Change]) -> list[Change]:
    """Leaves out creations, and takes the writes of one content as one."""
    return [change for change, _ in groupby(one for one in changes if one[0] != "create")]


@pytest.mark.long
def test_the_recorder_misses_nothing_that_the_system_was_asked_for(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace; apt-get install strace")
    root, trace = tmp_path / "sweeps", tmp_path / "trace"
    root.mkdir()
    strace = ["strace", "-f", "-y", "-qq", "-s", "0", "-e", f"trace={CALLS}", "-o", str(trace)]
    done = subprocess.run(
        [*strace, sys.executable, "-c", SWEEP, str(root)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if not trace.exists() or "ptrace" in done.stderr:
        pytest.skip("processes may not be traced here")
    assert done.returncode == 0, done.stderr
    system = list(traced(trace.read_text().splitlines(), root))
    recorded = list(told(done.stdout.splitlines()))
    # A file may be opened for appending again, and a content may be written in pieces.
    creations = {path for kind, path in system if kind == "create"}
    assert creations == {path for kind, path in recorded if kind == "create"}
    assert len(recorded) > 100
    assert in_order(system) == in_order(recorded)
