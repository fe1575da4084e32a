"""The registry of encoders: `load_encoder("psp", checkpoint)` gives the encoder of a name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fervit.encoders.demo import demo_network
from fervit.encoders.fast.fuse import fuse
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.encoders.official import NETWORKS, OfficialCheckpoint
from fervit.encoders.psp import GradualStyleEncoder
from fervit.encoders.registered import Registered, registered
from fervit.encoders.stylegan2 import STYLE_DIM, Decoder
from fervit.errors import UserError
from fervit.system.gpu import exact_arithmetic

KINDS = (*NETWORKS, "demo")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Encoder(nn.Module):
    """An encoder in eval mode, in its fast form (`fervit.encoders.fast.fuse`), with its average latent.

    It maps RGB images [n, 3, size, size] in [-1, 1] to W+ codes [n, seq_len, latent_dim] in float32, with the average
    latent added.

    Args:
        network: maps images to codes without the average latent.
        latent_avg: the average latent [seq_len, latent_dim].
        fingerprint: what identifies the codes; its precision is the type that the network computes in.
    """

    latent_avg: Tensor

    def __init__(self, network: nn.Module, latent_avg: Tensor, fingerprint: EncoderFingerprint) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("latent_avg", latent_avg)
        self.fingerprint = fingerprint
        self.dtype = PRECISIONS[fingerprint.precision or "float32"]
        self.eval().requires_grad_(False)

    def forward(self, images_bchw: Tensor) -> Tensor:
        """RGB images [batch, 3, size, size] in [-1, 1] -> W+ codes [batch, seq_len, latent_dim] in float32."""
        images = images_bchw.to(self.dtype, memory_format=torch.channels_last)
        if not images.is_cuda:
            return torch.as_tensor(self.network(images).float() + self.latent_avg)
        with exact_arithmetic():
            return torch.as_tensor(self.network(images).float() + self.latent_avg)


def load_encoder(
    kind: str,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    precision: str = "float32",
    module: str | None = None,
) -> Encoder:
    """Loads the encoder of a kind, in eval mode.

    Args:
        kind: "psp", "e4e", "demo" for the untrained network of the demo and the tests, or the name of an encoder that
            was registered (`register_encoder`).
        checkpoint: the official file (`psp_ffhq_encode.pt`, `e4e_ffhq_encode.pt`); None for "demo".
        device: the device that its weights are moved to.
        precision: "float32"; "bfloat16", which is at least twice as fast on a CPU that has it and changes codes by
            about 1.5 % (relative L2 error); or "float16", for GPUs, which rounds eight times finer but ends at 65,504,
            beyond which a code is not finite.
        module: a Python file or the import path of a module that registers the encoder; None for none.

    Raises:
        UserError: there is no such kind, or the file is missing or is not that encoder's checkpoint.
    """
    if precision not in PRECISIONS:
        raise UserError(f"--precision {precision}: there is no such precision; known are {', '.join(PRECISIONS)}")
    dtype = PRECISIONS[precision]
    if kind == "demo" and module is None:
        network, average, fingerprint = _demo(checkpoint)
        return Encoder(fuse(network, dtype), average, replace(fingerprint, precision=precision)).to(device)
    if (other := _registered(kind, module)) is not None:
        theirs, average, fingerprint = other.open(_path(checkpoint))
        return Encoder(theirs.to(dtype), average, replace(fingerprint, precision=precision)).to(device)
    official = open_checkpoint(kind, checkpoint)
    fingerprint = replace(_fingerprint(official), precision=precision)
    return Encoder(official.encoder(dtype), official.latent_avg, fingerprint).to(device)


def fingerprint_of(kind: str, checkpoint: str | Path | None = None, module: str | None = None) -> EncoderFingerprint:
    """Finds the fingerprint of `load_encoder(kind, checkpoint)` in float32 without keeping the weights in memory.

    Every weight of an official file is checked; a registered encoder encodes one picture.

    Raises:
        UserError: for the same reasons as in `load_encoder`.
    """
    if kind == "demo" and module is None:
        return _demo(checkpoint)[2]
    if (other := _registered(kind, module)) is not None:
        return other.open(_path(checkpoint))[2]
    official = open_checkpoint(kind, checkpoint)
    official.encoder(torch.bfloat16)  # looks at every weight
    return _fingerprint(official)


def load_decoder(kind: str, checkpoint: str | Path | None) -> Decoder:
    """Loads the StyleGAN2 generator of an encoder's checkpoint, which maps codes [n, n_styles, 512] to pictures.

    Raises:
        UserError: for the same reasons as in `load_encoder`, or the checkpoint holds no decoder. The demo encoder has
            none.
    """
    if kind not in NETWORKS:
        raise UserError(f"--encoder_type {kind}: has no decoder, so codes cannot be shown; leave --reconstruct out")
    return open_checkpoint(kind, checkpoint).decoder()


def open_checkpoint(kind: str, checkpoint: str | Path | None) -> OfficialCheckpoint:
    """Opens and checks the checkpoint file of an official encoder.

    Raises:
        UserError: there is no such kind, or the file is missing or is not that encoder's checkpoint.
    """
    if kind not in NETWORKS:
        raise UserError(
            f"--encoder_type {kind}: there is no such encoder; known are {', '.join(KINDS)}, and those that "
            "--encoder_module FILE registers"
        )
    if checkpoint is None:
        raise UserError(f"--encoder_type {kind}: needs --encoder_model, the path of its checkpoint")
    return OfficialCheckpoint(kind, Path(checkpoint))


def _registered(kind: str, module: str | None) -> Registered | None:
    """The registered encoder of a name; None for fervit's own, and where nobody has registered it."""
    if kind in KINDS:
        if module is not None:
            raise UserError(f"--encoder_module {module}: goes with the --encoder_type that it registers, not {kind}")
        return None
    return registered(kind, module)


def _path(checkpoint: str | Path | None) -> Path | None:
    return None if checkpoint is None else Path(checkpoint)


def _fingerprint(official: OfficialCheckpoint) -> EncoderFingerprint:
    return EncoderFingerprint(
        encoder=official.kind,
        checkpoint_sha256=official.sha256(),
        seq_len=official.n_styles,
        latent_dim=STYLE_DIM,
        size=GradualStyleEncoder.SIZE,
        precision="float32",
        untrained=False,
    )


def _demo(checkpoint: str | Path | None) -> tuple[GradualStyleEncoder, Tensor, EncoderFingerprint]:
    if checkpoint is not None:
        raise UserError("--encoder_type demo: has fixed random weights and takes no --encoder_model; leave it out")
    network, average, digest = demo_network()
    fingerprint = EncoderFingerprint(
        encoder="demo",
        checkpoint_sha256=digest,
        seq_len=18,
        latent_dim=STYLE_DIM,
        size=network.size,
        precision="float32",
        untrained=True,
    )
    return network, average, fingerprint
