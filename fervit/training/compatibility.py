"""Checks that latents and hyperparameters fit together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fervit.errors import UserError
from fervit.latents import LatentSet
from fervit.system.program import called
from fervit.training.config import TrainConfig


def fit_to_data(config: TrainConfig, train: LatentSet, val: LatentSet) -> TrainConfig:
    """Takes `seq_len` from the data if it is 0, and checks that the data fits the configuration.

    Raises:
        UserError: the codes have another shape than the configuration says, or the splits come from two encoders.
    """
    seq_len, latent_dim = train.codes.shape[1:]
    if config.seq_len == 0:
        config = replace(config, seq_len=seq_len)
    if (config.seq_len, config.latent_dim) != (seq_len, latent_dim):
        raise UserError(
            f"{train.path}: holds codes of {seq_len} x {latent_dim}, but seq_len is {config.seq_len} and latent_dim "
            f"{config.latent_dim}; set them to the data's (seq_len 0 takes what the data has)"
        )
    if val.codes.shape[1:] != train.codes.shape[1:] or not val.encoder.same_codes(train.encoder):
        raise UserError(
            f"{val.path}: its codes come from another encoder than those of {train.path}; encode both with one"
        )
    return config


def check_label_sets(one: LatentSet, other: LatentSet) -> None:
    """Checks that two splits have the same label set.

    Raises:
        UserError: they do not.
    """
    if one.label_set != other.label_set:
        raise UserError(
            f"{other.path}: its labels are {other.label_set}, but those of {one.path} are {one.label_set}; label sets "
            f"never mix: encode both with the same --labels ({called('evaluate')} alone maps one onto another)"
        )


def check_classes(train: LatentSet, val: LatentSet) -> None:
    """Checks that both splits have faces of the same classes, at least two. Those that both lack are never learnt.

    Raises:
        UserError: a split lacks a class that the other has, or there is only one.
    """
    for split, other in ((train, val), (val, train)):
        lacking, of_other = (each.label_set.without_faces(each.counts) for each in (split, other))
        missing = [name for name in lacking if name not in of_other]
        if missing:
            raise UserError(
                f"{split.path}: has no face of {', '.join(missing)}, but {other.path} has; training and validation "
                "need the same classes: encode more faces"
            )
    if (train.counts > 0).sum() < 2:
        raise UserError(f"{train.path}: has faces of one class only; a model needs two to tell apart")


def missing_classes(train: LatentSet) -> str:
    """A line about the classes that no training face shows; "" if there are all."""
    missing = train.label_set.without_faces(train.counts)
    return (
        f"no face of {', '.join(missing)}: the model cannot learn to see that, and is measured without"
        if missing
        else ""
    )


def check_splits(train: LatentSet, val: LatentSet) -> None:
    """Checks that both splits have the same label set and classes.

    Raises:
        UserError: they do not.
    """
    check_label_sets(train, val)
    check_classes(train, val)


def choose_rows(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Draws a share of the rows of each class, at least one row of every class that has any.

    Args:
        labels: the classes, integers [n].
        fraction: the share, in (0, 1].
        seed: the seed of the draw.

    Returns:
        The numbers of the rows, int64, in ascending order.
    """
    if fraction == 1:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[: max(1, round(fraction * int((labels == label).sum())))]
        for label in np.unique(labels)
    ]
    return np.sort(np.concatenate(chosen))
