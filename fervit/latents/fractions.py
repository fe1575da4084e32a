"""Takes a validation or a test split out of training codes that exist, and reads what encoding took out of pictures.

`_splits.json` beside the codes of an encoding job records the shares that it took out of the training pictures.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np

from fervit.errors import UserError
from fervit.images.layouts.ckplus import person_of
from fervit.io.storage import child, locate, write_whole
from fervit.labels.dealing import Fractions, deal, merged
from fervit.latents.latent_set import LatentSet

FILE = "_splits.json"


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


def recorded_fractions(latent_out: str) -> Fractions | None:
    """Reads what `write_fractions` wrote beside codes; None if it wrote nothing.

    Raises:
        UserError: the record is damaged.
    """
    filesystem, inner = locate(child(latent_out, FILE))
    try:
        with filesystem.open_input_stream(inner) as stream:
            content = json.loads(stream.read())
        return Fractions(val=float(content["val"]), test=float(content["test"]), seed=int(content["seed"]))
    except OSError:
        return None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{child(latent_out, FILE)}: is damaged; copy the folder again, or encode anew") from None


def write_fractions(latent_out: str, fractions: Fractions) -> None:
    """Records beside the codes the shares that were taken out of the training pictures."""
    filesystem, inner = locate(child(latent_out, FILE))
    write_whole(filesystem, inner, lambda file: file.write(json.dumps(asdict(fractions)).encode()))
