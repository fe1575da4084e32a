"""Compares the files of a sweep with the fingerprints that it wrote when it ended."""

from __future__ import annotations

from fervit.errors import UserError
from fervit.io.files import sha256_of
from fervit.search.outcome.fingerprints import files_of, read_fingerprints
from fervit.search.records.sweep_folder import SweepFolder
from fervit.verification.comparison import Comparison, DifferenceError


def check_files(files: SweepFolder, compare: Comparison) -> None:
    """Compares the SHA-256 of each file, and looks for files that are missing or that came later.

    Raises:
        DifferenceError: a file differs.
    """
    try:
        stated = read_fingerprints(files)
    except UserError as error:
        raise DifferenceError(str(error)) from None
    there = files_of(files)
    for name in there:
        if name not in stated:
            raise DifferenceError(f"{name} came later than the end of the sweep, or its fingerprint was taken away")
        compare.same(f"{name}: SHA-256", sha256_of(files.path / name), stated[name])
    for name in stated:
        if name not in there:
            raise DifferenceError(f"{name} is missing")
