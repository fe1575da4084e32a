"""Examines the files and folders that a job is about to use."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from fervit.cluster.gpus import GIB
from fervit.diagnosis.finding import Finding
from fervit.encoders.official import NETWORKS
from fervit.encoders.registry import fingerprint_of
from fervit.errors import UserError
from fervit.io.files import first_line, is_uri
from fervit.io.storage import child, locate
from fervit.latents.parts import about_in
from fervit.system.program import called

LITTLE_SPACE = GIB
"""The free space of a disk below which a job may not be able to write its results."""


def examine_encoder(path: Path, kind: str | None) -> Finding:
    """Examines the checkpoint of an encoder, every weight of it.

    Args:
        path: the file.
        kind: "psp" or "e4e"; None for whichever it is.
    """
    problem = ""
    for each in [kind] if kind else NETWORKS:
        try:
            fingerprint = fingerprint_of(each, path)
        except UserError as error:
            problem = problem or str(error)
            continue
        form = "zip" if zipfile.is_zipfile(path) else "before torch 1.6"
        size = f"{path.stat().st_size:,} bytes"
        sha256 = fingerprint.checkpoint_sha256
        return Finding(topic="encoder", text=f"{path}: {each}, {size}, torch's format ({form}), sha256 {sha256}")
    size = f"{path.stat().st_size:,} bytes" if path.is_file() else "no file"
    return Finding(topic="encoder", text=f"{path}: {size}", problem=problem)


def examine_source(topic: str, path: str) -> Finding:
    """Examines a folder, a file or a URI that a job reads.

    Args:
        topic: the name of the finding.
        path: the path or URI.
    """
    try:
        filesystem, inner = locate(path)
        there = filesystem.get_file_info(inner)
        if not there.is_file and there.type.name != "Directory":
            return Finding(topic=topic, text=path, problem="there is no such file or folder; see to the path")
        if not is_uri(path) and not os.access(path, os.R_OK):
            return Finding(topic=topic, text=path, problem="cannot be read by you; see to its permissions")
    except UserError as error:  # its text shows no secret that the URI may carry
        return Finding(topic=topic, text="cannot be used", problem=str(error))
    except OSError as error:
        return Finding(topic=topic, text=path, problem=f"cannot be read ({first_line(error)})")
    return Finding(topic=topic, text=f"{path}: {'a file' if there.is_file else 'a folder'} that can be read")


def examine_latents(path: str) -> Finding:
    """Examines a folder or URI that holds the latents of a sweep, in train/, val/ and test/."""
    found = examine_source("latents", path)
    if found.problem:
        return found
    splits = {}
    try:
        for split in ("train", "val", "test"):
            about = about_in(child(path, split))
            if about is not None:
                splits[split] = about.encoder
    except (UserError, OSError) as error:
        return Finding(topic="latents", text=path, problem=first_line(error))
    text = ", ".join(f"{split} of {encoder.encoder}" for split, encoder in splits.items()) or "no split"
    missing = [split for split in ("train", "val") if split not in splits]
    lacking = f"no {' and '.join(missing)} there; make them with {called('encode')}, or give the folder that holds them"
    return Finding(topic="latents", text=f"{path}: {text}", problem=lacking if missing else "")


def examine_target(topic: str, path: str) -> Finding:
    """Examines a folder or URI that a job writes to: whether it can, whether there is room, and whether locks work.

    Args:
        topic: the name of the finding.
        path: the path or URI, which may not be there yet.
    """
    if is_uri(path):
        try:
            filesystem, _ = locate(path)
        except UserError as error:
            return Finding(topic=topic, text="cannot be used", problem=str(error))
        return Finding(topic=topic, text=f"{path}: on {filesystem.type_name}, not written to here")
    folder = Path(path).absolute()
    if folder.exists() and not folder.is_dir():
        return Finding(topic=topic, text=path, problem="is a file; choose another path")
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    text = f"{path}: {'is there' if there == folder else 'will be made'}, {free / GIB:.1f} GiB free"
    return Finding(topic=topic, text=text, problem=_trouble(there, free))


def _trouble(folder: Path, free: int) -> str:
    """Why a job could not write to a folder or lock a file in it; "" if it can."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=folder) as file:
            file.write(b"a job can write here\n")
            file.flush()
            locks = _lock(file.name)
    except OSError as error:
        return f"{folder} cannot be written to by you ({first_line(error)}); choose another, or see to its permissions"
    if locks:
        return f"files in {folder} cannot be locked ({locks}); mount it with locks (NFS 4), or choose another folder"
    if free < LITTLE_SPACE:
        return f"{free / GIB:.1f} GiB are free there; make room"
    return ""


def _lock(path: str) -> str:
    """Locks a file twice, of which the second must be refused; returns what is wrong, or ""."""
    with Path(path).open() as first, Path(path).open() as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return first_line(error)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ""
    return "a lock keeps nobody out"
