"""The output folder of an audit: which of its files an earlier audit wrote and nobody has changed since.

Only those are ever deleted or replaced. Lists are there to be edited, and the folder may hold files of the user.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import count
from pathlib import Path, PurePosixPath

from fervit.errors import UserError
from fervit.io.disk import remove
from fervit.io.files import read_object, sha256_of, whole_file

PAGE, RESULTS = "audit.html", "audit.json"


class AuditFolder:
    """Writes the files of an audit into a folder.

    Args:
        path: the folder, which is made with the first file if it does not exist.

    Raises:
        UserError: the folder holds an audit.json or an audit.html that no audit wrote.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written: dict[str, str] = {}
        """The files of this audit by their paths below the folder, with `/` -> the SHA-256 of their contents."""
        self.kept: list[str] = []
        """The files that were changed since an earlier audit wrote them, or that none wrote and whose names this one
        wanted."""
        if path.exists() and not path.is_dir():
            raise UserError(f"--output_dir {path}: is a file; give a folder")
        before = read_object(path / RESULTS)
        for name in (RESULTS, PAGE):
            if (path / name).exists() and (before is None or "findings" not in before):
                raise UserError(
                    f"--output_dir {path}: holds {'a file' if (path / name).is_file() else 'a folder'} {name} that no "
                    "audit wrote; give another folder"
                )
        files = (before or {}).get("files")
        self._before: Mapping[str, object] = files if isinstance(files, dict) else {}

    def clear(self) -> None:
        """Deletes the files of the audit that was here before, but for those that were changed since."""
        for name, sha256 in self._before.items():
            found = _sha256(self.path / name) if _is_inside(name) else ""
            if found and found == sha256:
                remove(self.path / name)
            elif found:
                self.kept.append(name)

    def write(self, name: str, content: str | bytes) -> str:
        """Writes a file, under another name where one is that is not an earlier audit's, or was changed since.

        Args:
            name: the path below the folder, such as "exclude/blank.jsonl".
            content: text, which is written in UTF-8, or bytes.

        Returns:
            The path below the folder that it got, such as "exclude/blank-2.jsonl".
        """
        data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
        sha256, wanted = hashlib.sha256(data).hexdigest(), PurePosixPath(name)
        for n in count(1):
            place = str(wanted if n == 1 else wanted.with_name(f"{wanted.stem}-{n}{wanted.suffix}"))
            there = self.path / place
            if not there.exists() and not there.is_symlink():
                with whole_file(there) as aside:
                    aside.write_bytes(data)
                break
            if _sha256(there) == sha256:  # what an audit wrote that was killed
                break
            self.kept += [] if place in self.kept else [place]
        self.written[place] = sha256
        return place

    def kept_in_words(self) -> list[str]:
        """The line that says which files were kept, if there are some."""
        if not self.kept:
            return []
        return [
            f"kept: {', '.join(self.kept)}, which were edited since the last audit or are not of one; the new files "
            "have a number at the end of their names"
        ]


def _is_inside(name: str) -> bool:
    """Whether a path in audit.json, which is untrusted, is one below its folder."""
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def _sha256(path: Path) -> str:
    """The hash of a file; "" if it is none that can be read."""
    try:
        return sha256_of(path) if path.is_file() else ""
    except OSError:
        return ""
