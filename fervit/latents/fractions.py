"""Takes a validation or a test split out of training codes that exist. Nothing on disk is changed."""

from __future__ import annotations

import numpy as np

from fervit.images.layouts.ckplus import person_of
from fervit.labels.dealing import Fractions, deal, merged
from fervit.latents.latent_set import LatentSet


def take(latents: LatentSet, fractions: Fractions) -> dict[str, LatentSet]:
    """Divides the rows of a training split: stratified, with copies of a picture, and persons of CK+, on one side.

    Args:
        latents: the training split.
        fractions: the shares of the others.

    Returns:
        "train" and the other splits; each has the path of the training split.
    """
    dealt = np.array(deal(groups_of(latents), latents.labels.tolist(), fractions.shares, seed=fractions.seed))
    return {split: latents.take(np.flatnonzero(dealt == split)) for split in fractions.shares}


def groups_of(*splits: LatentSet) -> list[str]:
    """The group of each row of some splits, one after the other, that is dealt whole: copies, and persons of CK+."""
    image_ids = [name for split in splits for name in split.image_ids]
    digests = [digest or None for split in splits for digest in split.sha256]
    rows = [f"{i} {name}" if i else name for i, split in enumerate(splits) for name in split.image_ids]
    return merged(digests, [person_of(name) for name in image_ids], rows)
