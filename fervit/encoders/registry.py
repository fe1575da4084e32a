"""Encoders by name. `load_encoder("psp", checkpoint)` is all that other rooms need."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fervit.encoders.demo import demo_network
from fervit.encoders.psp import GradualStyleEncoder
from fervit.errors import UserError
from fervit.torch_files import load_untrusted

KINDS = ("psp", "demo")


@dataclass(frozen=True, kw_only=True)
class EncoderFingerprint:
    """What identifies the codes of an encoder. Codes of two fingerprints never stand in one folder."""

    encoder: str
    checkpoint_sha256: str
    seq_len: int
    latent_dim: int
    size: int
    """Side of the input in pixels."""
    untrained: bool = False
    """The weights are random: for the demo and the tests only."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Encoder(nn.Module):
    """An encoder in eval mode with its average latent.

    [n, 3, size, size] RGB in [-1, 1] -> W+ codes [n, seq_len, latent_dim] float32, average included.
    """

    latent_avg: Tensor

    def __init__(self, network: GradualStyleEncoder, latent_avg: Tensor, fingerprint: EncoderFingerprint) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("latent_avg", latent_avg)
        self.fingerprint = fingerprint
        self.eval().requires_grad_(False)

    def forward(self, images_bchw: Tensor) -> Tensor:
        codes: Tensor = self.network(images_bchw) + self.latent_avg
        return codes


def load_encoder(kind: str, checkpoint: str | Path | None = None, device: str = "cpu") -> Encoder:
    """The encoder of a kind, in eval mode.

    Args:
        kind: "psp", or "demo" for the untrained network of the demo and the tests.
        checkpoint: the official file (`psp_ffhq_encode.pt`); None for "demo".
        device: where its weights go.

    Raises:
        UserError: no such kind, or a file that is missing or is not that encoder's checkpoint.
    """
    if kind not in KINDS:
        raise UserError(f"--encoder_type {kind}: there is no such encoder; known are {', '.join(KINDS)}")
    if kind == "demo":
        if checkpoint is not None:
            raise UserError("--encoder_type demo: has fixed random weights and takes no --encoder_model; leave it out")
        return _demo_encoder().to(device)
    if checkpoint is None:
        raise UserError(f"--encoder_type {kind}: needs --encoder_model, the path of its checkpoint")
    return _psp_encoder(Path(checkpoint)).to(device)


def _psp_encoder(path: Path) -> Encoder:
    if not path.is_file():
        raise UserError(
            f"--encoder_model {path}: there is no such file; download psp_ffhq_encode.pt (see third_party/)"
        )
    loaded = load_untrusted(path)
    state = loaded.get("state_dict") if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping):
        raise UserError(f"--encoder_model {path}: has no 'state_dict'; expected pSp's official checkpoint")
    prefix = "encoder."
    weights = {key[len(prefix) :]: value for key, value in state.items() if str(key).startswith(prefix)}
    styles = [re.match(r"styles\.(\d+)\.", key) for key in weights]
    n_styles = 1 + max((int(match[1]) for match in styles if match), default=-1)
    average = loaded.get("latent_avg")
    if n_styles == 0 or not isinstance(average, Tensor):
        raise UserError(
            f"--encoder_model {path}: holds no 'encoder.styles.*' weights or no 'latent_avg'; not pSp's file"
        )
    if average.shape not in ((n_styles, 512), (1, 512), (512,)):
        raise UserError(f"--encoder_model {path}: latent_avg is {list(average.shape)}; it must be [{n_styles}, 512]")
    with torch.device("meta"):
        network = GradualStyleEncoder(n_styles=n_styles)
    try:
        network.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--encoder_model {path}: its weights do not fit pSp's network ({reason})") from None
    fingerprint = EncoderFingerprint(
        encoder="psp", checkpoint_sha256=_sha256(path), seq_len=n_styles, latent_dim=512, size=network.size
    )
    return Encoder(network, average.float().expand(n_styles, 512).clone(), fingerprint)


def _demo_encoder() -> Encoder:
    network, average, digest = demo_network()
    fingerprint = EncoderFingerprint(
        encoder="demo", checkpoint_sha256=digest, seq_len=18, latent_dim=512, size=network.size, untrained=True
    )
    return Encoder(network, average, fingerprint)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
