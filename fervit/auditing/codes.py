"""Looks through the codes of a split: those that are constant, not finite, or far outside the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fervit.auditing.pictures import Rows
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.errors import UserError
from fervit.io.storage import child, name_of
from fervit.latents.parts import read_split
from fervit.system.program import called

FAR = 6.0
"""A code is far outside if the logarithm of its distance to the mean code is this many robust standard deviations
(1.4826 times the median absolute deviation) above the median."""
CHUNK = 1024


@dataclass(frozen=True, kw_only=True)
class Codes(Rows):
    """The rows of one or several splits of latents with what was measured on their codes."""

    encoder: EncoderFingerprint
    paths: tuple[str, ...]
    """The folders or URIs of the splits."""
    values: np.ndarray
    """The codes, float16 [n, seq_len, latent_dim]."""
    not_finite: np.ndarray
    """Whether a number of the code is NaN or infinite, bool [n]."""
    constant: np.ndarray
    """Whether all tokens of the code, or all numbers of a token, are the same, bool [n]."""
    distance: np.ndarray
    """The distance to the mean code in standard deviations of each number (root mean square), float32 [n]."""
    far: np.ndarray
    """Whether that is far more than it is for the others, bool [n]."""


def read_codes(latents: str, splits: tuple[str, ...]) -> Codes:
    """Reads and measures the codes of a folder that holds splits, or of one split.

    Unlike `LatentSet.read`, it takes codes that are not finite.

    Args:
        latents: the folder or URI.
        splits: the names of the splits to look for.

    Raises:
        UserError: there are no latents, or two splits hold codes of different encoders.
    """
    paths = [child(latents, split) for split in splits]
    read = [(path, *read_split(path, COLUMNS)) for path in paths]
    found = [(path, about, table) for path, about, table in read if about is not None and len(table)]
    if not found:
        about, table = read_split(latents, COLUMNS)
        if about is None or not len(table):
            raise UserError(f"--latents {latents}: no latents here; give the folder that {called('encode')} wrote")
        found = [(latents, about, table)]
    first = found[0][1]
    for path, about, _ in found:
        if not about.encoder.same_codes(first.encoder):
            raise UserError(f"{path}: its codes come from another encoder than those of {found[0][0]}")
        if about.label_set != first.label_set:
            raise UserError(f"{path}: has other classes than {found[0][0]}; audit them one by one")
    values = np.concatenate([chunk.to_numpy_ndarray() for *_, table in found for chunk in table["latent"].chunks])
    not_finite, constant, distance = _measure(values)
    return Codes(
        image_ids=[name for *_, table in found for name in table["image_id"].to_pylist()],
        splits=np.array([name_of(path) for path, _, table in found for _ in range(len(table))], dtype=np.str_),
        labels=np.concatenate([table["label"].to_numpy().astype(np.int64) for *_, table in found]),
        classes=first.label_set.classes,
        digests=[digest for *_, table in found for digest in table["sha256"].to_pylist()],
        encoder=first.encoder,
        paths=tuple(path for path, *_ in found),
        values=values,
        not_finite=not_finite,
        constant=constant,
        distance=distance,
        far=_far(distance, ~(not_finite | constant)),
    )


COLUMNS = ["image_id", "label", "sha256", "latent"]


def _measure(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each code: whether it is not finite, whether it is constant, and its distance to the mean code."""
    n = len(values)
    not_finite, constant, distance = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, np.float32)
    for rows in _chunks(n):
        part = values[rows]
        not_finite[rows] = ~np.isfinite(part).all(axis=(1, 2))
        one_token = part.shape[1] > 1 and (part == part[:, :1]).all(axis=(1, 2))
        constant[rows] = one_token | (part == part[:, :, :1]).all(axis=2).any(axis=1)
    whole = np.flatnonzero(~(not_finite | constant))
    if not len(whole):
        return not_finite, constant, distance
    first = values[whole[0]].astype(np.float64)  # subtracted, so that sums lose few digits
    total, squares = np.zeros_like(first), np.zeros_like(first)
    for some in np.array_split(whole, -(-len(whole) // CHUNK)):
        part = values[some].astype(np.float64) - first
        total += part.sum(axis=0)
        squares += (part * part).sum(axis=0)
    mean = total / len(whole)
    deviation = np.sqrt(np.maximum(squares / len(whole) - mean * mean, 1e-12))
    for some in np.array_split(whole, -(-len(whole) // CHUNK)):
        part = (values[some].astype(np.float64) - first - mean) / deviation
        distance[some] = np.sqrt((part * part).mean(axis=(1, 2)))
    return not_finite, constant, distance


def _far(distance: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Whether each code is far outside, bool [n]; `whole` has those that are finite and not constant."""
    far = np.zeros(len(distance), bool)
    if whole.sum() > 2:
        logs = np.log(np.maximum(distance[whole], 1e-6))
        middle = np.median(logs)
        spread = 1.4826 * float(np.median(np.abs(logs - middle)))
        far[whole] = logs > middle + FAR * max(spread, 0.02)
    return far


def _chunks(n: int) -> list[slice]:
    return [slice(start, min(n, start + CHUNK)) for start in range(0, n, CHUNK)]
