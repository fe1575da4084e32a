"""Enumerates the states of the disk that a power cut can leave after each step of a recording.

The file system is a weak one, as POSIX allows it and as ext4, XFS and Btrfs behave in part:

- What is appended, written or cut off is on the disk for sure after a sync of the file. Before, it may be there, be
  missing, be there in part (torn), or be zeros; several of these may be there in any combination.
- A name in a folder (new, renamed, removed) is as it should be for sure after a sync of the folder. Before, each of the
  changes may have been carried out or not, in any combination that respects the order of those of one name.
- A folder whose own name is lost takes all that is in it along.
- A rename is atomic within the file system.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash.recorder import Recording, Step

TREE = dict[str, bytes | None]
"""The content of a folder: the path of each file -> its bytes, and of each folder -> None."""
AT_MOST = 3
"""Up to so many open changes, all their combinations are taken; of more, a sample."""
TEARS = 3
"""The places at which an unsynced write is torn, where not all are taken."""
DATA = ("append", "write", "truncate")
NAMES = ("create", "rename", "remove", "make folder", "remove folder")


@dataclass(frozen=True)
class State:
    """A state of the disk after a power cut."""

    steps: int
    """The number of steps that had been begun."""
    tree: TREE
    how: str
    """What the power cut did to the last steps, for messages."""

    def digest(self) -> str:
        """Returns a hash of the content."""
        digest = hashlib.sha256()
        for name in sorted(self.tree):
            content = self.tree[name]
            digest.update(f"{name}\0{'-' if content is None else len(content)}\0".encode())
            digest.update(content or b"")
        return digest.hexdigest()

    def put(self, folder: Path) -> None:
        """Makes a folder hold this state."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in sorted(self.tree):  # a folder before what is in it
            content = self.tree[name]
            if content is None:
                (folder / name).mkdir()
            else:
                (folder / name).write_bytes(content)


@dataclass
class _File:
    """A file, whichever names it has."""

    content: bytearray
    end: int = 0
    """Its size while the program ran."""


_Folder = dict[str, "_File | _Node"]


@dataclass
class _Node:
    """A folder."""

    names: _Folder


Fate = str
"""What a power cut did to an unsynced change: "done", "lost", "zeros", or "torn N" after N bytes."""


def replay(steps: Sequence[Step], fates: dict[int, Fate]) -> TREE:
    """Carries out steps on an empty disk.

    Args:
        steps: the steps.
        fates: what became of some of them, by index; the others are done.
    """
    # Data goes to the file that had the path while the program ran; names are those that the disk has.
    running: dict[str, _File | _Node] = {"": _Node({})}
    root = running[""]
    for i, step in enumerate(steps):
        fate = fates.get(i, "done")
        if step.kind in ("create", "make folder"):
            running[step.path] = _File(bytearray()) if step.kind == "create" else _Node({})
            _name(running, step.path, running[step.path], fate)
        elif step.kind in ("append", "write"):
            _write(running, step, fate)
        elif step.kind == "truncate":
            one = running[step.path]
            assert isinstance(one, _File)
            one.end = step.size
            if fate == "done":
                del one.content[step.size :]
        elif step.kind == "rename":
            moved = running.pop(step.path)
            running[step.target] = moved
            if fate == "done":
                _name(running, step.path, None, fate, only=moved)
                _name(running, step.target, moved, fate)
        elif step.kind in ("remove", "remove folder"):
            running.pop(step.path, None)
            _name(running, step.path, None, fate)
    tree: TREE = {}
    assert isinstance(root, _Node)
    _collect(root, "", tree)
    return tree


def _name(
    running: dict[str, _File | _Node],
    path: str,
    what: _File | _Node | None,
    fate: Fate,
    *,
    only: _File | _Node | None = None,
) -> None:
    """Gives a name in a folder to a file or folder, or takes it away, if that was carried out."""
    if fate != "done":
        return
    parent, _, name = path.rpartition("/")
    folder = running.get(parent)
    if not isinstance(folder, _Node):
        return
    if what is not None:
        folder.names[name] = what
    elif only is None or folder.names.get(name) is only:
        folder.names.pop(name, None)


def _write(running: dict[str, _File | _Node], step: Step, fate: Fate) -> None:
    one = running[step.path]
    assert isinstance(one, _File)
    if step.kind == "write":
        one.content.clear()
        one.end = 0
    if fate == "done":
        written = step.data
    elif fate == "zeros":
        written = bytes(len(step.data))
    else:
        written = step.data[: int(fate.split()[1])] if fate.startswith("torn") else b""
    if written:
        one.content.extend(bytes(max(0, one.end - len(one.content))))  # a hole, if an earlier write was lost
        one.content[one.end : one.end + len(written)] = written  # over what a lost truncation has left
    one.end += len(step.data)


def _collect(folder: _Node, path: str, tree: TREE) -> None:
    for name, one in folder.names.items():
        inside = f"{path}/{name}" if path else name
        if isinstance(one, _Node):
            tree[inside] = None
            _collect(one, inside, tree)
        else:
            tree[inside] = bytes(one.content)


def open_changes(steps: Sequence[Step]) -> list[int]:
    """Returns the indices of the changes that a power cut after these steps may undo: no sync has settled them."""
    found: list[int] = []
    for i, step in enumerate(steps):
        if step.kind in (*DATA, *NAMES):
            found.append(i)
        elif step.kind == "sync":
            found = [k for k in found if not (steps[k].kind in DATA and _now(steps, k, i) == step.path)]
        elif step.kind == "sync folder":
            found = [k for k in found if not (steps[k].kind in NAMES and step.path in _folders(steps[k]))]
    return found


def _folders(step: Step) -> set[str]:
    """The folders whose names a step changes; one sync is taken to settle both sides of a rename within a folder."""
    return {(step.target or step.path).rpartition("/")[0]}


def _now(steps: Sequence[Step], k: int, i: int) -> str:
    """The path that the file which step k wrote has at step i."""
    path = steps[k].path
    for step in steps[k + 1 : i]:
        if step.kind == "rename" and step.path == path:
            path = step.target
    return path


def states(
    recording: Recording, seed: int = 0, *, sample: int = 8, tears: int = TEARS, after: range | None = None
) -> Iterator[State]:
    """Yields the states that a power cut can leave after each step, each content once per set of promises.

    Args:
        recording: the steps.
        seed: the seed of what is sampled.
        sample: how many combinations are taken where more than `AT_MOST` changes are open.
        tears: at how many places an unsynced write is torn; 0 for each byte of what is appended.
        after: the numbers of steps after which the power is cut; None for all.
    """
    rng = random.Random(seed)
    steps = recording.steps
    known: set[tuple[str, int]] = set()
    promises = 0
    for n in range(len(steps) + 1):
        if n and steps[n - 1].kind == "promise":
            promises += 1
        if after is not None and n not in after:
            continue
        for fates in _combinations(steps[:n], rng, sample, tears):
            how = ", ".join(f"{steps[i].kind} {steps[i].path}: {fate}" for i, fate in fates.items() if fate != "done")
            state = State(n, replay(steps[:n], fates), how or "all done")
            key = (state.digest(), promises)
            if key not in known:
                known.add(key)
                yield state


def _combinations(steps: Sequence[Step], rng: random.Random, sample: int, tears: int) -> Iterator[dict[int, Fate]]:
    """Yields what can have become of the open changes."""
    left = open_changes(steps)
    yield {}
    choices = [_fates(steps[i], rng, tears) for i in left]
    all_of_it, more = ("done", "lost"), ("zeros", "half")
    few = [all_of_it + (more if steps[i].kind in ("append", "write") else ()) for i in left]
    if len(left) <= AT_MOST:
        for combination in itertools.product(*few):
            yield {i: _halved(steps[i], fate) for i, fate in zip(left, combination, strict=True)}
    else:
        for i in left:  # each alone: only it is lost, or only it is there
            yield {i: "lost"}
            yield {k: "lost" for k in left if k != i}
        yield dict.fromkeys(left, "lost")
        for _ in range(sample):
            yield {i: rng.choice(of) for i, of in zip(left, choices, strict=True)}
    if left and steps[left[-1]].kind in DATA:  # the last write, torn everywhere, with all before it there
        for fate in choices[-1]:
            yield {left[-1]: fate}


def _fates(step: Step, rng: random.Random, tears: int) -> list[Fate]:
    if step.kind not in ("append", "write"):
        return ["done", "lost"]
    size = len(step.data)
    each_byte = not tears and step.kind == "append"
    places = (
        range(1, size) if each_byte else sorted({rng.randrange(size) for _ in range(tears or TEARS)} if size else ())
    )
    return ["done", "lost", "zeros", *(f"torn {place}" for place in places)]


def _halved(step: Step, fate: str) -> Fate:
    return f"torn {len(step.data) // 2}" if fate == "half" else fate
