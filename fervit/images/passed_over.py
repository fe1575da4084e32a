"""The files below a data root that are no faces: why each is passed over, as a line and in full on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from fervit.io.json_lines import text_of
from fervit.io.storage import child, delete, locate, write_whole

FILE = "_passed_over.jsonl"
HIDDEN = "hidden"
OF_A_SYSTEM = "of an operating system or an archiver"
NO_PICTURE = "no picture"
NO_FILE = "no regular file"
NO_CLASS = "in no class folder"
NO_SPLIT = "in no split's folder"
LINK_BACK = "a link to a folder above itself"
LINK_AGAIN = "a link to a folder that is read elsewhere"
NOT_LISTED = "a folder that cannot be listed"
NO_LABEL = "without a label"
LEFT_OUT_CLASS = "of a class that is not in --labels"
BROKEN_ROW = "a row with too many or too few cells"
SYSTEM_NAMES = frozenset(
    (
        *("__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "lost+found"),
        *("#recycle", "@recycle", "@tmp", "#snapshot", "__pycache__", "ehthumbs.db", "icon\r"),
    )
)
"""The names, in lower case, of what operating systems, archivers and network disks leave among pictures."""
NO_PICTURES = frozenset(
    (
        *(".avi", ".csv", ".db", ".gz", ".html", ".ini", ".json", ".jsonl", ".log", ".mat", ".md", ".mkv", ".mov"),
        *(".mp4", ".npy", ".npz", ".onnx", ".parquet", ".pkl", ".pt", ".pth", ".py", ".rar", ".tar", ".tgz", ".txt"),
        *(".xlsx", ".xml", ".yaml", ".yml", ".zip", ".7z"),
    )
)
"""Suffixes that no picture has. Of other unknown suffixes, Pillow finds out from the content."""


class PassedOver(NamedTuple):
    """A file, or a row of a CSV, that is not read."""

    path: str
    """Its path below the data root."""
    reason: str


OF_PREPROCESSING = ("_names.jsonl", "_errors.jsonl", FILE, "_ray.log", "preview.png")
"""What `fervit preprocess` writes beside its faces, which nobody takes for faces."""


def why_not(name: str) -> str:
    """Why a file or folder of this name is passed over; "" if the name is no reason."""
    if name.startswith("."):
        return HIDDEN
    return OF_A_SYSTEM if name.lower() in SYSTEM_NAMES else ""


def brief(passed_over: Sequence[PassedOver]) -> str:
    """Counts the files by reason, such as "3 passed over (2 hidden, 1 no picture)"."""
    reasons = Counter(one.reason for one in passed_over)
    parts = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
    return f"{len(passed_over)} passed over" + (f" ({parts})" if parts else "")


def account(
    passed_over: Sequence[PassedOver],
    left_out: int,
    good: int,
    what: str,
    failed: int,
    folder: str,
    unit: str = "files",
) -> str:
    """Says in a line what became of every file below a data root.

    Args:
        passed_over: the files that were passed over.
        left_out: the number of those that `--limit` left out.
        good: the number of those that went well.
        what: what these are, such as "with codes".
        failed: the number of those that failed.
        folder: the folder or URI that has the list of those that were passed over.
        unit: what is counted.
    """
    parts = [f"{good} {what}", f"{failed} failed", brief(passed_over)]
    parts += [f"{left_out} left out by --limit"] if left_out else []
    where = f"; in full in {child(folder, FILE)}" if passed_over else ""
    return f"all {good + failed + len(passed_over) + left_out} {unit}: {', '.join(parts)}{where}"


def write(folder: str, passed_over: Sequence[PassedOver]) -> None:
    """Writes all files with their reasons as lines of JSON into a folder or URI; an empty list removes the file."""
    filesystem, path = locate(child(folder, FILE))
    if passed_over:
        text = text_of_all(passed_over)
        write_whole(filesystem, path, lambda file: file.write(text.encode("utf-8", "backslashreplace")))
    elif filesystem.get_file_info(path).is_file:
        delete(filesystem, path)


def text_of_all(passed_over: Sequence[PassedOver]) -> str:
    """All files with their reasons, as lines of JSON."""
    return text_of({"path": one.path, "reason": one.reason} for one in passed_over)
