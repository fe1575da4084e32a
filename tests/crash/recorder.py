"""Records what a run changes on the disk, in order, and what it promises in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fervit.io.disk import Operation, watched


@dataclass(frozen=True, kw_only=True)
class Step:
    """An operation on a path below the recorded folder, or a promise."""

    kind: str
    """A kind of `fervit.io.disk.Operation`, or "promise"."""
    path: str = ""
    target: str = ""
    data: bytes = b""
    """What is appended, or the whole content of what was written aside."""
    size: int = 0
    promise: Any = None


@dataclass
class Recording:
    """The steps of a run, in order."""

    folder: Path
    steps: list[Step] = field(default_factory=list)

    @classmethod
    def of_state(cls, folder: Path, tree: Mapping[str, bytes | None]) -> Recording:
        """Returns the steps that make a state, with all of it on the disk, to which those of a recovery are added."""
        steps = []
        for path, content in sorted(tree.items()):
            if content is None:
                steps.append(Step(kind="make folder", path=path))
            else:
                steps += [Step(kind="create", path=path), Step(kind="write", path=path, data=content)]
                steps.append(Step(kind="sync", path=path))
            steps.append(Step(kind="sync folder", path=path.rpartition("/")[0]))
        return cls(folder, steps)

    def promise(self, what: Any) -> None:
        """Notes that the run tells its user something which must be true from now on, also after a power cut."""
        self.steps.append(Step(kind="promise", promise=what))

    def promised(self, n: int) -> list[Any]:
        """Returns what has been promised by the first n steps."""
        return [step.promise for step in self.steps[:n] if step.kind == "promise"]

    def __call__(self, operation: Operation) -> None:
        kind, path, target, data, size = operation
        if not path.is_relative_to(self.folder):
            return
        data = path.read_bytes() if kind == "write" else data
        self.steps.append(
            Step(
                kind=kind,
                path=self._inside(path),
                target=self._inside(target) if target is not None else "",
                data=data,
                size=size,
            )
        )

    def _inside(self, path: Path) -> str:
        inside = path.relative_to(self.folder).as_posix()
        return "" if inside == "." else inside


@contextmanager
def recorded(folder: Path, recording: Recording | None = None) -> Iterator[Recording]:
    """Records what this process changes below a folder while the block runs, after the steps of another recording."""
    recording = recording or Recording(folder)
    with watched(recording):
        yield recording
