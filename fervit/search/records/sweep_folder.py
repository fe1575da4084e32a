"""The folder of a sweep: a new one, or the one to go on with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fervit.errors import UserError
from fervit.files import write_json, write_text
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.search.splits import Splits

SPACE_FILE, ENVIRONMENT = "sweep.yaml", "environment.json"
MAY_CHANGE = ("search.trials", "budget", "trial", "confirm")
"""Keys of the space that a resumed sweep may have with other values than before."""


def earlier_sweep(space: SearchSpace, given: str, root: Path = Path("experiments")) -> Path | None:
    """The folder of a sweep to go on with: the one given, or the newest of the space's name; None where there is none.

    Raises:
        UserError: the folder given is no sweep's.
    """
    if given:
        if not all((Path(given) / name).is_file() for name in (SPACE_FILE, ENVIRONMENT)):
            raise UserError(
                f"--resume {given}: holds no {SPACE_FILE} and {ENVIRONMENT}; give the folder of a sweep in {root}/"
            )
        return Path(given).absolute()
    folders = [path.parent for path in root.glob(f"{space.name}_*/{SPACE_FILE}")]
    folders = [folder for folder in folders if (folder / ENVIRONMENT).is_file()]
    mine = [folder for folder in folders if re.fullmatch(r"\d{8}_\d{6}(_\d+)?", folder.name[len(space.name) + 1 :])]
    return max(mine, key=lambda folder: folder.name).absolute() if mine else None


def check_same(space: SearchSpace, splits: Splits, folder: Path) -> None:
    """Whether a sweep can go on with this space and these latents.

    Raises:
        UserError: the space differs in more than the number of trials, the budget, the resources and the confirmation,
            or the latents are others.
    """
    before = parse_space(yaml.safe_load((folder / SPACE_FILE).read_text(encoding="utf-8")), str(folder / SPACE_FILE))
    changed = [
        f"{key} {new!r}, was {old!r}"
        for key, (old, new) in _differences(before.to_json(), space.to_json()).items()
        if not any(key == may or key.startswith(f"{may}.") for may in MAY_CHANGE)
    ]
    if changed:
        raise UserError(
            f"--resume {folder}: began with another space ({'; '.join(changed[:3])}); take the file back to what it "
            "was, or start a new sweep without --resume"
        )
    environment = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    for name, split in (("train", splits.train), ("val", splits.val)):
        if environment["data"][name]["sha256"] != split.fingerprint:
            raise UserError(
                f"--resume {folder}: began with other latents than {split.path} (their fingerprints differ); give "
                f"those of {environment['data'][name]['path']}, or start a new sweep without --resume"
            )


def write_space(space: SearchSpace, folder: Path) -> None:
    write_text(folder / SPACE_FILE, yaml.safe_dump(space.to_json(), sort_keys=False))


def write_environment(folder: Path, environment: dict[str, Any]) -> None:
    """Once, at the start; what a later session runs on is appended to `sessions`."""
    path = folder / ENVIRONMENT
    if path.is_file():
        first = json.loads(path.read_text(encoding="utf-8"))
        environment = {**first, "sessions": [*first.get("sessions", []), environment]}
    write_json(path, environment)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (old value, new value) of what differs."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found[f"{prefix}{key}"] = (a, b)
    return found
