"""Lets the program recover from each state of a recording, and collects what is wrong."""

from __future__ import annotations

import atexit
import shutil
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.crash.recorder import Recording
from tests.crash.states import TEARS, TREE, State, states

Kept = Callable[[Path, Sequence[Any]], str]
"""Returns which of the promises a folder with a state no longer keeps, or ""."""
Recover = Callable[[Path], str]
"""Lets the same command go on in a folder with a state, and returns what is wrong with its end, or ""."""
MEMORY = Path("/dev/shm")


@dataclass
class Found:
    """What an exploration found."""

    states: int = 0
    recoveries: int = 0
    """How many of them were recovered from to the end. The others became the same as one of these by `first`."""
    wrong: list[str] = field(default_factory=list)
    """For each wrong recovery: after which step, what the power cut did, and what was wrong."""


def scratch() -> Path:
    """Makes a folder in memory, where there is one, which is removed with this process."""
    folder = Path(mkdtemp(prefix="fervit_crash_", dir=MEMORY if MEMORY.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def explore(
    recording: Recording,
    kept: Kept,
    recover: Recover,
    *,
    first: Callable[[Path], object] | None = None,
    seed: int = 0,
    sample: int = 8,
    tears: int = TEARS,
    every: int = 1,
    pieces: int = 1,
    piece: int = 0,
    begin: int = 0,
) -> Found:
    """Lets the program recover from the states that a power cut can leave.

    Args:
        recording: the steps of an undisturbed run.
        kept: judges the state itself.
        recover: recovers, and judges the end.
        first: the first step of the recovery, such as opening a journal. States that are equal after it, but for the
            content of hidden files, are recovered from once. None recovers from each.
        seed: the seed of what is sampled.
        sample: as for `states`.
        tears: as for `states`.
        every: takes only one state in so many.
        pieces: in how many pieces of about as many steps the recording is explored.
        piece: which of these is explored, from 0.
        begin: the number of steps after which the power is cut for the first time.
    """
    found, place, known = Found(), scratch(), set[str]()
    n = len(recording.steps) + 1
    after = range(max(begin, piece * n // pieces), (piece + 1) * n // pieces)
    try:
        for i, state in enumerate(states(recording, seed, sample=sample, tears=tears, after=after)):
            if i % every:
                continue
            folder = place / "state"
            state.put(folder)
            found.states += 1
            try:
                problem = kept(folder, recording.promised(state.steps))
                if first is not None:
                    first(folder)
                if not problem and (key := _digest(folder) if first is not None else str(i)) not in known:
                    known.add(key)
                    found.recoveries += 1
                    problem = recover(folder)
            except Exception:
                problem = traceback.format_exc(limit=-3)
            if problem:
                found.wrong.append(f"after step {state.steps} ({_last(recording, state)}), {state.how}: {problem}")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return found


def _digest(folder: Path) -> str:
    """Returns a hash of a folder, which leaves out the content of hidden files and the endings of their names."""
    tree: TREE = {}
    for path in folder.rglob("*"):
        hidden = path.name.startswith(".") and path.is_file()
        name = path.relative_to(folder).as_posix()
        if hidden:
            tree[name.rpartition(".")[0]] = b""
        else:
            tree[name] = None if path.is_dir() else path.read_bytes()
    return State(0, tree, "").digest()


def _last(recording: Recording, state: State) -> str:
    step = recording.steps[state.steps - 1] if state.steps else None
    return f"{step.kind} {step.path} {step.promise or ''}".strip() if step else "nothing"
