"""The fingerprint of an encoder, as files store it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fervit.encoders.fingerprint import EncoderFingerprint

WHOLE = {
    "encoder": "psp",
    "checkpoint_sha256": "ab" * 32,
    "seq_len": 18,
    "latent_dim": 512,
    "size": 256,
    "precision": "bfloat16",
    "untrained": False,
    "imported": True,
}
SYNTHETIC = {name: WHOLE[name] for name in ("encoder", "checkpoint_sha256", "seq_len", "latent_dim")}


@pytest.mark.parametrize("content", [WHOLE, SYNTHETIC, {**WHOLE, "of_a_later_version": [1, 2]}])
def test_what_is_read_is_written_byte_for_byte(content: dict[str, Any]) -> None:
    assert json.dumps(EncoderFingerprint.from_json(content).to_json()) == json.dumps(content)


def test_codes_are_the_same_in_another_precision_and_when_imported_but_not_of_another_file() -> None:
    one = EncoderFingerprint.from_json(WHOLE)
    rounded = EncoderFingerprint.from_json({**WHOLE, "precision": "float32", "imported": None})
    other = EncoderFingerprint.from_json({**WHOLE, "checkpoint_sha256": "cd" * 32})
    assert one != rounded
    assert one.same_codes(rounded)
    assert not one.same_codes(other)


@pytest.mark.parametrize("broken", [{"seq_len": "18"}, {"encoder": None}])
def test_a_value_of_another_type_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be of type"):
        EncoderFingerprint.from_json({**WHOLE, **broken})
