"""What can be known before the first trial. No Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fervit.errors import UserError
from fervit.latents import LatentSet
from fervit.latents.parts import encoder_in, read_split
from fervit.latents.schema import same_encoder
from fervit.search.space import SearchSpace, TrialResources
from fervit.storage import child
from fervit.training.fit import fit_to_data

if TYPE_CHECKING:
    from fervit.cluster import Node


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The latents of a sweep. The test split is a path until the choice is made."""

    train: LatentSet
    val: LatentSet
    test: str | None
    """None where there is none: the evaluation is then on validation, and says so."""


def open_splits(latents: str, space: SearchSpace) -> Splits:
    """Reads the training and the validation split, and finds the test split without opening it.

    Raises:
        UserError: a split is missing, lacks an emotion, is of another encoder, or does not fit the space.
    """
    train, val = (LatentSet.read(child(latents, split)) for split in ("train", "val"))
    for split in (train, val):
        split.check_classes()
    fit_to_data(space.config(space.example()), train, val)
    test = child(latents, "test")
    encoder = encoder_in(test)
    if encoder is not None and not same_encoder(encoder, train.encoder):
        raise UserError(f"{test}: its codes come from another encoder than {train.path}; use one for all")
    if encoder is not None and len(read_split(test, ["image_id"])[1]) == 0:
        raise UserError(f"{test}: its Parquet files have no rows; encode the test split, or remove the folder")
    return Splits(train=train, val=val, test=test if encoder is not None else None)


def placeable(trial: TrialResources, nodes: Sequence[Node]) -> tuple[TrialResources, str]:
    """What a trial will get on this cluster, and a remark for the user ("" for none).

    Without a GPU anywhere, trials that ask for one run on the CPU: one space file serves a laptop and a cluster.

    Raises:
        UserError: no single node has what a trial needs.
    """
    remark = ""
    if trial.gpus and not any(node.gpus for node in nodes):
        remark = f"no GPU in this cluster: trials run on the CPU (trial.gpus is {trial.gpus:g})"
        trial = replace(trial, gpus=0)
    if trial.gpus > 1 and trial.gpus != int(trial.gpus):
        raise UserError(f"trial.gpus: must be a share of one GPU or a whole number of them, but got {trial.gpus:g}")
    if not any(trial.cpus <= node.cpus and trial.gpus <= node.gpus for node in nodes):
        largest = ", ".join(sorted({f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in nodes}))
        raise UserError(
            f"trial: needs {trial.cpus:g} CPUs and {trial.gpus:g} GPUs on one node, but the nodes have {largest}; "
            "lower it with --set trial.cpus=N or --set trial.gpus=N"
        )
    return trial, remark


def describe_space(space: SearchSpace) -> str:
    """One line: how large the space is and which pairs are left out."""
    left_out, pairs = space.pairs_left_out()
    size = f"{space.size():.0f} configurations" if space.size() != float("inf") else "a continuous space"
    note = (
        f"; {left_out} of {pairs} pairs of embed_dim and heads are left out (heads must divide embed_dim)"
        if left_out
        else ""
    )
    return f"{len(space.parameters)} parameters, {size}{note}"
