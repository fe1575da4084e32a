"""Writes the folder from which `ray up` starts a cluster: its YAMLs, and the code that they copy to the nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fervit.errors import UserError
from fervit.io.disk import make_folder
from fervit.io.files import whole_file
from fervit.system.program import CODE, NAME, SHIPPED, shipped

YAMLS = ("cluster.yaml", "clusters")
COPIED = ("search_spaces", "launch", "constraints.txt", "pyproject.toml", "README.md", "LICENSE")
"""What the YAMLs copy to each node, beside the package itself."""
PACKAGE = Path(__file__).resolve().parents[1]


def write_cluster_files(folder: Path, *, force: bool = False) -> list[Path]:
    """Writes the cluster files of fervit and the code that they name.

    Args:
        folder: the folder, which is made if it is missing.
        force: whether to replace files that are there and differ.

    Returns:
        The files that were written, relative to the folder; those that were there already are not among them.

    Raises:
        UserError: the folder is that of fervit's code, or a file is there and differs, and `force` is false. Nothing
            has been written then.
    """
    if folder.resolve() == CODE and not SHIPPED.is_dir():
        raise UserError(f"{folder}: is the folder of {NAME}'s code, which has these files; give another one, or use it")
    written = {path: source for path, source in _files() if _differs(folder / path, source)}
    there = [path for path in written if (folder / path).exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"{folder / there[0]}{more}: there already, and different; give another folder, or --force")
    make_folder(folder)
    for path, source in written.items():
        with whole_file(folder / path, one_of_many=True) as aside:
            aside.write_bytes(source.read_bytes())
    return list(written)


def _files() -> Iterator[tuple[Path, Path]]:
    """Yields (the path of a file in the folder, the file that comes with fervit)."""
    for name in (*YAMLS, *COPIED):
        source = shipped(name)
        for path in _below(source) if source.is_dir() else [source]:
            yield Path(name, path.relative_to(source)), path
    for path in _below(PACKAGE):
        if not path.is_relative_to(SHIPPED):
            yield Path(PACKAGE.name, path.relative_to(PACKAGE)), path


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _differs(path: Path, source: Path) -> bool:
    return not path.is_file() or path.read_bytes() != source.read_bytes()
