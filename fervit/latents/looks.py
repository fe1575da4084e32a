"""The looks at a split: which models were evaluated on it, when and by which command, a file a look in `_looks/`.

A test split says how good a model is only as long as it has not helped to choose it. A sweep seals its own look, but
another sweep, `evaluate.py` or `compare.py` may have looked before. So the record lies beside the codes: whoever
evaluates on them can count who did before.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from fervit.errors import UserError
from fervit.io.files import JsonObject, first_line
from fervit.io.storage import child, locate, write_whole
from fervit.latents.latent_set import LatentSet

FOLDER = "_looks"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A model that was evaluated, and its headline; the metrics are None if the evaluation was cut off."""

    checkpoint: str
    """The fingerprint of the model (`Checkpoint.fingerprint`)."""
    f1_macro: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Look:
    """An evaluation of one or several models on a split."""

    time: str
    """When it began, in ISO 8601, UTC."""
    host: str
    command: tuple[str, ...]
    latents: str
    """The fingerprint of the split (`LatentSet.fingerprint`)."""
    n: int
    """The number of its rows."""
    models: tuple[Seen, ...]
    exclude: JsonObject | None = None
    """The lists of faces without which the models were measured as well (`Exclusion.record`); None without such."""

    @classmethod
    def from_json(cls, content: JsonObject) -> Look:
        """Reads what `asdict` gave.

        Raises:
            KeyError: a key is missing.
            TypeError: a value is of another kind.
        """
        return cls(
            time=str(content["time"]),
            host=str(content["host"]),
            command=tuple(map(str, content["command"])),
            latents=str(content["latents"]),
            n=int(content["n"]),
            models=tuple(Seen(**model) for model in content["models"]),
            exclude=content.get("exclude"),
        )


@dataclass(frozen=True)
class RecordedLook:
    """A look whose record is written, and which can be completed with its results."""

    path: str
    """The path or URI of the record."""
    look: Look
    others: int
    """The number of earlier looks at the split in which another model was evaluated."""
    remark: str
    """A line that says why the record does not lie beside the split; "" if it does."""

    def finish(self, models: Sequence[Seen]) -> None:
        """Writes the results into the record."""
        _write(self.path, replace(self.look, models=tuple(models)))


def record_look(
    latents: LatentSet,
    models: Collection[str],
    aside: Path,
    own: Collection[str] = (),
    exclude: JsonObject | None = None,
) -> RecordedLook:
    """Records, before it begins, that models are evaluated on a split.

    The record is written into `_looks/` of the split or, where that cannot be written, of another folder.

    Args:
        latents: the split.
        models: the fingerprints of the models.
        aside: the folder of the evaluation's results.
        own: the fingerprints of further models whose looks are not counted as those of others.
        exclude: the lists of faces without which they are measured as well; None for none.
    """
    now, host = datetime.now(UTC), socket.gethostname()
    look = Look(
        time=now.isoformat(timespec="seconds"),
        host=host,
        command=tuple(sys.argv),
        latents=latents.fingerprint,
        n=len(latents),
        models=tuple(Seen(checkpoint=model) for model in dict.fromkeys(models)),
        exclude=exclude,
    )
    known = {*models, *own}
    others = sum(any(seen.checkpoint not in known for seen in one.models) for one in looks_at(latents.path))
    name = f"{now:%Y%m%dT%H%M%S}_{re.sub('[^A-Za-z0-9.-]', '-', host)}_{secrets.token_hex(4)}.json"
    path, remark = child(latents.path, FOLDER, name), ""
    try:
        _write(path, look)
    except (OSError, pa.ArrowException) as error:
        path = str(aside.absolute() / FOLDER / name)
        _write(path, look)
        where = child(latents.path, FOLDER)
        remark = f"the look at this split cannot be noted in {where} ({first_line(error)}), and is in {aside / FOLDER}"
    return RecordedLook(path=path, look=look, others=others, remark=remark)


def looks_at(split: str) -> list[Look]:
    """Reads the looks that are recorded beside a split, the earliest first. Files that are no such record are ignored.

    Args:
        split: the folder or URI of the split.
    """
    try:
        filesystem, folder = locate(child(split, FOLDER))
        infos = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    except (OSError, pa.ArrowException, UserError):
        return []
    found = []
    for info in sorted(infos, key=lambda one: one.base_name):
        if not info.is_file or info.base_name.startswith(".") or not info.base_name.endswith(".json"):
            continue
        try:
            with filesystem.open_input_stream(info.path) as stream:
                found.append(Look.from_json(json.loads(stream.read())))
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            continue
    return found


def others_in_words(others: int) -> str:
    """Says how often other models were evaluated on a split before; "" if they were not."""
    times = "once" if others == 1 else f"{others} times"
    return f"others looked at this split before, {times}: a choice that knew of it is optimistic" if others else ""


def _write(path: str, look: Look) -> None:
    filesystem, inner = locate(path)
    fields = {key: value for key, value in asdict(look).items() if (key, value) != ("exclude", None)}
    content = json.dumps(fields, indent=2, ensure_ascii=False).encode()
    write_whole(filesystem, inner, lambda file: file.write(content))
