"""The latents of a sweep: the training and validation splits in memory, and the path of the test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from fervit.errors import UserError
from fervit.io.files import JsonObject
from fervit.io.storage import child
from fervit.labels.dealing import Fractions
from fervit.latents import LatentSet
from fervit.latents.exclusion import Exclusion, for_card, leave_out
from fervit.latents.folds import check_folds
from fervit.latents.fractions import take
from fervit.latents.parts import about_in, read_split
from fervit.search.space.search_space import SearchSpace
from fervit.training.compatibility import check_classes, check_label_sets, fit_to_data


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The latents of a sweep. The test split is not read before the model has been chosen."""

    train: LatentSet
    val: LatentSet
    test: str | None
    """The path or URI of the test split; None if there is none, and the model is then evaluated on validation."""
    test_rows: int = 0
    """The number of rows of the test split."""
    test_fingerprint: str = ""
    """The fingerprint of the test split (`LatentSet.fingerprint`); "" if there is none."""
    fractions: Fractions | None = None
    """How splits were taken out of the training codes; None if none was. The test split may then have their path."""
    copies: Mapping[str, int] = field(default_factory=dict)
    """The number of rows of a split whose picture is in another one too, such as {"val in train": 3}."""

    exclusion: Exclusion | None = None
    """The faces that training and validation lack, as the user asked for; the test split has them."""
    left_out: JsonObject | None = None
    """What records say of that (`Exclusion.record`)."""
    no_faces: bool = False
    """Whether results show no pictures of the faces."""

    @property
    def changes(self) -> list[str]:
        """What was changed of the latents before the search, for the model card."""
        return [for_card(self.left_out)] if self.left_out is not None else []

    def read_test(self) -> LatentSet:
        """Reads the test split, or takes it out of the training codes again."""
        assert self.test is not None
        if self.fractions is not None and self.fractions.test:
            # Its rows are no part of what was trained on, which is known by the fingerprint of all training codes.
            return replace(take(LatentSet.read(self.test), self.fractions)["test"], whole="")
        return LatentSet.read(self.test)

    @property
    def rows(self) -> dict[str, int]:
        """The number of rows of each split."""
        found = {"train": len(self.train), "val": len(self.val)}
        return found if self.test is None else {**found, "test": self.test_rows}


def open_splits(
    latents: str, space: SearchSpace, exclusion: Exclusion | None = None, fractions: Fractions | None = None
) -> Splits:
    """Reads the training and the validation split, and checks that the test split can be read at the end of the sweep.

    None of the test split's data is kept.

    Args:
        latents: the path or URI of the folder that holds train, val and, if there is one, test.
        space: the search space.
        exclusion: the faces to train and validate without; None for none. The test split is kept whole.
        fractions: takes a split that is missing out of the training codes; None to read all.

    Raises:
        UserError: a split is missing, lacks a class, has another label set or encoder than the others, or does not fit
            the space; or a fold would lack a class.
    """
    taken = _taken(latents, fractions) if fractions is not None else {}
    whole = [taken.get(split) or LatentSet.read(child(latents, split)) for split in ("train", "val")]
    check_label_sets(*whole)
    (train, val), left_out = leave_out(exclusion, *whole)
    splits = partial(Splits, train=train, val=val, exclusion=exclusion, left_out=left_out, fractions=fractions)
    check_classes(train, val)
    fit_to_data(space.config(space.example()), train, val)
    if space.confirm.folds:
        check_folds(train, val, space.confirm.folds, space.search.seed)
    test = child(latents, "test")
    if fractions is not None and "test" in taken:
        rows = taken["test"]
        return splits(
            test=train.path,
            test_rows=len(rows),
            test_fingerprint=rows.fingerprint,
            copies=_copies({"train": train.sha256, "val": val.sha256, "test": rows.sha256}),
        )
    about = about_in(test)
    if about is not None and not about.encoder.same_codes(train.encoder):
        raise UserError(f"{test}: its codes come from another encoder than {train.path}; use one for all")
    if about is not None:
        if len(read_split(test, ["image_id"])[1]) == 0:
            raise UserError(f"{test}: its Parquet files have no rows; encode the test split, or remove the folder")
        rows = LatentSet.read(test)
        check_label_sets(train, rows)
        shape = rows.codes.shape[1:]
        if shape != train.codes.shape[1:]:
            raise UserError(
                f"{test}: its codes are {shape}, those of {train.path} {train.codes.shape[1:]}; encode it anew"
            )
        return splits(
            test=test,
            test_rows=len(rows),
            test_fingerprint=rows.fingerprint,
            copies=_copies({"train": train.sha256, "val": val.sha256, "test": rows.sha256}),
        )
    return splits(test=None, copies=_copies({"train": train.sha256, "val": val.sha256}))


def _taken(latents: str, fractions: Fractions) -> dict[str, LatentSet]:
    """Takes the missing splits out of the training codes.

    Raises:
        UserError: a split is there that a fraction is to replace, or the fractions are wrong.
    """
    fractions.check()
    for split in fractions.shares:
        if split != "train" and about_in(child(latents, split)) is not None:
            raise UserError(f"--{split}_fraction: {child(latents, split)} is there; leave the flag out")
    return take(LatentSet.read(child(latents, "train")), fractions)


def copies_in_words(copies: Mapping[str, int], *, rows: Mapping[str, int] | None = None) -> str:
    """Writes which splits share pictures on a line, and what that does to the results.

    Args:
        copies: `Splits.copies`.
        rows: the number of rows of each split; None leaves them out.
    """
    found = []
    for pair, n in copies.items():
        one, _, other = pair.partition(" in ")
        if n:
            found.append(f"{n}{f' of {rows[one]}' if rows else ''} {one} faces are also in {other}")
    if not found:
        return "copies of a face in two splits: none"
    return f"copies: {'; '.join(found)}: they reward a model that remembers, in the search as in its result"


def _copies(sha256: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Counts the rows of each split whose picture is in an earlier one, too."""
    names = list(sha256)
    known = {name: {digest for digest in sha256[name] if digest} for name in names}
    return {
        f"{one} in {other}": sum(digest in known[other] for digest in sha256[one])
        for i, one in enumerate(names)
        for other in names[:i]
    }
