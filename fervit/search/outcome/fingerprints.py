"""The SHA-256 of each file of a sweep that has ended, by which `launch/verify.py` finds a file that was edited since.

They are written last, when the report is there. They do not protect from someone who edits a file and its fingerprint;
they find what was changed by accident, by another program, or by hand in one place.
"""

from __future__ import annotations

import json
from pathlib import Path

from fervit.cluster.job import JOB_FOLDER
from fervit.errors import UserError
from fervit.io.files import read_object, sha256_of, write_json
from fervit.search.records.sweep_folder import PARTS, SweepFolder
from fervit.version import __version__

LEFT_OUT = ("ray.log", *PARTS.values(), JOB_FOLDER, "requests", "wandb")
"""What Ray, Slurm, users and trackers write into the folder, some of it after the end. It holds no result."""


def write_fingerprints(folder: SweepFolder) -> None:
    """Writes the fingerprints of all files of a sweep that has ended."""
    found = {name: sha256_of(folder.path / name) for name in files_of(folder)}
    write_json(folder.fingerprints, {"fervit_version": __version__, "sha256": found})


def renew_fingerprint(folder: SweepFolder, path: Path) -> None:
    """Replaces the fingerprint of a file that was written again, such as the report; does nothing before the end."""
    if not folder.fingerprints.is_file():
        return
    content = json.loads(folder.fingerprints.read_text(encoding="utf-8"))
    content["sha256"][_name(folder, path)] = sha256_of(path)
    write_json(folder.fingerprints, content)


def read_fingerprints(folder: SweepFolder) -> dict[str, str]:
    """Reads the SHA-256 of each file, by its path below the folder.

    Raises:
        FileNotFoundError: the sweep has none.
        UserError: the file is damaged.
    """
    try:
        content = json.loads(folder.fingerprints.read_text(encoding="utf-8"))["sha256"]
        return {str(name): str(digest) for name, digest in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{folder.fingerprints}: is damaged; copy it again") from None


def version_of(folder: SweepFolder) -> str:
    """Returns the version of fervit that ended a sweep; "" if its fingerprints do not say it."""
    return str((read_object(folder.fingerprints) or {}).get("fervit_version", ""))


def files_of(folder: SweepFolder) -> list[str]:
    """Returns the paths of a sweep's files below its folder, without fingerprints, hidden files, Ray's and Slurm's."""
    paths = (path for path in folder.path.rglob("*") if path.is_file() and path != folder.fingerprints)
    names = (path.relative_to(folder.path) for path in paths)
    return sorted(
        name.as_posix()
        for name in names
        if name.parts[0] not in LEFT_OUT and not any(part.startswith(".") for part in name.parts)
    )


def _name(folder: SweepFolder, path: Path) -> str:
    return path.absolute().relative_to(folder.path.absolute()).as_posix()
