"""The latents of a sweep: the training and validation splits in memory, and the path of the test split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from fervit.errors import UserError
from fervit.io.files import JsonObject
from fervit.io.storage import child
from fervit.labels.dealing import Fractions
from fervit.latents import LatentSet
from fervit.latents.changes import changes_in_words
from fervit.latents.copies import count_copies
from fervit.latents.exclusion import Exclusion, leave_out
from fervit.latents.folds import check_folds
from fervit.latents.fractions import take
from fervit.latents.parts import about_in, read_split
from fervit.latents.votes import Votes, VotesAs
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
    votes: tuple[Votes, VotesAs] | None = None
    """The votes of taggers that replace the labels, and how; None for the labels."""
    voted: JsonObject | None = None
    """What records say of that (`Votes.record`)."""
    no_faces: bool = False
    """Whether results show no pictures of the faces."""

    @property
    def changes(self) -> list[str]:
        """What was changed of the latents before the search, for the model card."""
        return changes_in_words(self.left_out, self.voted)

    def read_test(self) -> tuple[LatentSet, JsonObject | None]:
        """Reads the test split, or takes it out of the training codes again.

        Returns:
            Its rows, with the labels of taggers if the sweep has their votes, and what records say of these.
        """
        assert self.test is not None
        rows = LatentSet.read(self.test)
        if self.fractions is not None and self.fractions.test:
            # Its rows are no part of what was trained on, which is known by the fingerprint of all training codes.
            rows = replace(take(rows, self.fractions)["test"], whole="")
        if self.votes is None:
            return rows, None
        votes, votes_as = self.votes
        rows, counts = votes.relabelled(rows, votes_as)
        return rows, votes.record(votes_as, {"test": counts})

    @property
    def voted_val(self) -> JsonObject | None:
        """What records say of the votes for the validation split; None without votes."""
        return None if self.voted is None else {**self.voted, "splits": {"val": self.voted["splits"]["val"]}}

    @property
    def rows(self) -> dict[str, int]:
        """The number of rows of each split."""
        found = {"train": len(self.train), "val": len(self.val)}
        return found if self.test is None else {**found, "test": self.test_rows}


def open_splits(
    latents: str,
    space: SearchSpace,
    exclusion: Exclusion | None = None,
    fractions: Fractions | None = None,
    votes: tuple[Votes, VotesAs] | None = None,
) -> Splits:
    """Reads the training and the validation split, and checks that the test split can be read at the end of the sweep.

    None of the test split's data is kept.

    Args:
        latents: the path or URI of the folder that holds train, val and, if there is one, test.
        space: the search space.
        exclusion: the faces to train and validate without; None for none. The test split is kept whole.
        fractions: takes a split that is missing out of the training codes; None to read all.
        votes: the votes of taggers that replace the labels of all splits, and how; None for the labels.

    Raises:
        UserError: a split is missing, lacks a class, has another label set or encoder than the others, or does not fit
            the space; a split has no votes; or a fold would lack a class.
    """
    taken = _taken(latents, fractions) if fractions is not None else {}
    whole = [taken.get(split) or LatentSet.read(child(latents, split)) for split in ("train", "val")]
    check_label_sets(*whole)
    both, left_out = leave_out(exclusion, *whole)
    (train, val), voted = (both, None) if votes is None else votes[0].splits(votes[1], *both)
    check_classes(train, val)
    fit_to_data(space.config(space.example()), train, val)
    if space.confirm.folds:
        check_folds(train, val, space.confirm.folds, space.search.seed)
    splits = partial(Splits, train=train, val=val, exclusion=exclusion, left_out=left_out, fractions=fractions)
    splits = partial(splits, votes=votes, voted=voted)
    test = taken.get("test") or _test_split(child(latents, "test"), train)
    if test is None:
        return splits(test=None, copies=count_copies({"train": train.sha256, "val": val.sha256}))
    if votes is not None:
        votes[0].relabelled(test, votes[1])  # tells now, and not after the search, if it has no votes
    return splits(
        test=test.path,
        test_rows=len(test),
        test_fingerprint=test.fingerprint,
        copies=count_copies({"train": train.sha256, "val": val.sha256, "test": test.sha256}),
    )


def _test_split(path: str, train: LatentSet) -> LatentSet | None:
    """Reads the test split; None if there is none.

    Raises:
        UserError: it has no rows, or has another label set, encoder or shape than the training split.
    """
    about = about_in(path)
    if about is None:
        return None
    if not about.encoder.same_codes(train.encoder):
        raise UserError(f"{path}: its codes come from another encoder than {train.path}; use one for all")
    if len(read_split(path, ["image_id"])[1]) == 0:
        raise UserError(f"{path}: its Parquet files have no rows; encode the test split, or remove the folder")
    rows = LatentSet.read(path)
    check_label_sets(train, rows)
    shape = rows.codes.shape[1:]
    if shape != train.codes.shape[1:]:
        raise UserError(f"{path}: its codes are {shape}, those of {train.path} {train.codes.shape[1:]}; encode it anew")
    return rows


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
