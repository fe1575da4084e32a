"""The fingerprint of an encoder, which is written into the metadata of every Parquet file of codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fervit.io.files import JsonObject

UNKNOWN = "unknown"
"""The name of the encoder of imported codes that nobody has named."""


@dataclass(frozen=True, kw_only=True)
class EncoderFingerprint:
    """What identifies the codes of an encoder. Codes of two different fingerprints are never put into one folder.

    Files of other programs, such as synthetic codes, may lack everything that is optional here. What is None is left
    out of the JSON, so that a fingerprint that is read and written again stays the same.
    """

    encoder: str
    """The kind of the encoder: "psp", "e4e", "demo", or "unknown" for imported codes of an unnamed encoder."""
    checkpoint_sha256: str
    """The SHA-256 of the encoder's checkpoint file, or "" if that is not known."""
    seq_len: int
    """Number of style vectors in a code, 18 for a generator of 1024 x 1024 pixels."""
    latent_dim: int
    """Length of a style vector."""
    size: int | None = None
    """Side of the encoder's input in pixels."""
    precision: str | None = None
    """"float32", "bfloat16" or "float16"; None while an encoding job is planned and the hardware has yet to decide."""
    untrained: bool | None = None
    """Whether the weights are random, which is for the demo and the tests only."""
    imported: bool | None = None
    """True for codes that were imported from the .pt files of earlier scripts."""
    other: Mapping[str, object] = field(default_factory=dict, hash=False)
    """Keys that this version of fervit does not know. They are kept, and distinguish encoders as the known ones do."""

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> EncoderFingerprint:
        """Reads what `to_json` wrote, with or without the optional keys.

        Raises:
            KeyError: a required key is missing.
            TypeError: a value is of another type than its field.
        """
        other = {name: value for name, value in content.items() if name not in _TYPES}
        known = {name: content[name] for name in _TYPES if name in _REQUIRED or content.get(name) is not None}
        for name, value in known.items():
            if not isinstance(value, _TYPES[name]):
                raise TypeError(f"{name} must be of type {_TYPES[name].__name__}, but is {value!r}")
        return cls(**known, other=other)  # type: ignore[arg-type]

    def to_json(self) -> JsonObject:
        """The keys of the file format, in the order of the fields, without those that are not known."""
        known = {name: getattr(self, name) for name in _TYPES}
        return {**{name: value for name, value in known.items() if value is not None}, **self.other}

    def same_codes(self, other: EncoderFingerprint) -> bool:
        """Whether codes of the two may be compared. Neither the precision nor an import makes a difference."""
        one, another = (replace(each, precision=None, imported=None) for each in (self, other))
        return one == another

    @property
    def input_size(self) -> int:
        """The side of the encoder's input in pixels: `size`, or 256, that of pSp and e4e, where it is not known."""
        return 256 if self.size is None else self.size

    def __str__(self) -> str:
        """The kind and the start of the checkpoint's hash, such as "psp (0123456789ab)"."""
        return f"{self.encoder} ({self.checkpoint_sha256[:12] or 'no checkpoint'})"


_REQUIRED = ("encoder", "checkpoint_sha256", "seq_len", "latent_dim")
_TYPES: dict[str, type] = {
    "encoder": str,
    "checkpoint_sha256": str,
    "seq_len": int,
    "latent_dim": int,
    "size": int,
    "precision": str,
    "untrained": bool,
    "imported": bool,
}
