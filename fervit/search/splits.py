"""The latents of a sweep: the training and validation splits in memory, and the path of the test split."""

from __future__ import annotations

from dataclasses import dataclass

from fervit.errors import UserError
from fervit.latents import LatentSet
from fervit.latents.parts import encoder_in, read_split
from fervit.search.space.search_space import SearchSpace
from fervit.storage import child
from fervit.training.compatibility import check_classes, fit_to_data


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The latents of a sweep. The test split is not read before the model has been chosen."""

    train: LatentSet
    val: LatentSet
    test: str | None
    """The path or URI of the test split; None if there is none, and the model is then evaluated on validation."""


def open_splits(latents: str, space: SearchSpace) -> Splits:
    """Reads the training and the validation split, and checks that the test split can be read at the end of the sweep.

    None of the test split's data is kept.

    Args:
        latents: the path or URI of the folder that holds train, val and, if there is one, test.
        space: the search space.

    Raises:
        UserError: a split is missing, lacks an emotion, comes from another encoder, or does not fit the space.
    """
    train, val = (LatentSet.read(child(latents, split)) for split in ("train", "val"))
    check_classes(train, val)
    fit_to_data(space.config(space.example()), train, val)
    test = child(latents, "test")
    encoder = encoder_in(test)
    if encoder is not None and not encoder.same_codes(train.encoder):
        raise UserError(f"{test}: its codes come from another encoder than {train.path}; use one for all")
    if encoder is not None:
        if len(read_split(test, ["image_id"])[1]) == 0:
            raise UserError(f"{test}: its Parquet files have no rows; encode the test split, or remove the folder")
        shape = LatentSet.read(test).codes.shape[1:]
        if shape != train.codes.shape[1:]:
            raise UserError(
                f"{test}: its codes are {shape}, those of {train.path} {train.codes.shape[1:]}; encode it anew"
            )
    return Splits(train=train, val=val, test=test if encoder is not None else None)
