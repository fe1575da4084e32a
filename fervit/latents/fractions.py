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
    persons = [person_of(name) for name in latents.image_ids]
    groups = merged([digest or None for digest in latents.sha256], persons, latents.image_ids)
    dealt = np.array(deal(groups, latents.labels.tolist(), fractions.shares, seed=fractions.seed))
    return {split: latents.take(np.flatnonzero(dealt == split)) for split in fractions.shares}
