"""Encoders of others: `register_encoder` makes any network that gives W+ codes an encoder of fervit."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor, nn

from fervit.encoders.fingerprint import UNKNOWN, EncoderFingerprint
from fervit.encoders.official import NETWORKS
from fervit.errors import UserError
from fervit.io.files import sha256_of

ENTRY_POINTS = "fervit.encoders"
"""The group of entry points by which an installed package brings encoders."""
Load = Callable[[Path | None], nn.Module]
"""Builds a network, with the weights of a checkpoint; None where no checkpoint is given."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """An encoder that was registered."""

    name: str
    load: Load
    size: int
    """The side of its input in pixels."""

    def open(self, checkpoint: Path | None) -> tuple[nn.Module, Tensor, EncoderFingerprint]:
        """Builds the network in float32, and finds the shape of its codes by one picture.

        Args:
            checkpoint: the file that the user gave; None for none.

        Returns:
            The network in eval mode, an average latent of zeros [styles, dim], and the fingerprint of the codes.

        Raises:
            UserError: the file is not there, or what was registered does not give codes.
        """
        if checkpoint is not None and not checkpoint.is_file():
            raise UserError(f"--encoder_model {checkpoint}: there is no such file for the encoder {self.name}")
        network = self.load(checkpoint)
        if not isinstance(network, nn.Module):
            raise self._error(f"its function must return a torch.nn.Module, but returned {type(network).__name__}")
        network = network.float().eval()
        with torch.inference_mode():
            codes = network(torch.zeros(1, 3, self.size, self.size))
        if not isinstance(codes, Tensor) or codes.ndim != 3 or len(codes) != 1 or not codes.is_floating_point():
            found = list(codes.shape) if isinstance(codes, Tensor) else type(codes).__name__
            raise self._error(
                f"must give codes [n, styles, dim] for pictures [n, 3, {self.size}, {self.size}], but gave {found} for "
                "one picture"
            )
        _, seq_len, latent_dim = codes.shape
        fingerprint = EncoderFingerprint(
            encoder=self.name,
            checkpoint_sha256=_sha256(network, checkpoint),
            seq_len=seq_len,
            latent_dim=latent_dim,
            size=self.size,
            precision="float32",
            untrained=False,
        )
        return network, torch.zeros(seq_len, latent_dim), fingerprint

    def _error(self, what: str) -> UserError:
        return UserError(f"--encoder_type {self.name}: {what}")


_encoders: dict[str, Registered] = {}


def register_encoder(name: str, *, size: int = 256) -> Callable[[Load], Load]:
    """Registers the function below it as the encoder `name`.

    The function gets the path of `--encoder_model`, or None, and returns a network that maps RGB pictures
    [n, 3, size, size] in [-1, 1] to codes [n, styles, dim], any average latent included.

    Args:
        name: the value of `--encoder_type`, which is written into the metadata of the codes.
        size: the side of the network's input in pixels.

    Raises:
        UserError: the name is one of fervit's own encoders, or is not made of letters, digits, - and _.

    Example:
        @register_encoder("restyle")
        def load(checkpoint):
            return torch.jit.load(checkpoint)
    """
    if name in (*NETWORKS, "demo", UNKNOWN):
        raise UserError(f"register_encoder: {name} is one of fervit's own names; take another")
    if not re.fullmatch(r"[\w-]{1,100}", name):
        raise UserError(f"register_encoder: a name must be 1 to 100 letters, digits, - and _, but got {name!r}")
    if size < 1:
        raise UserError(f"register_encoder: `size >= 1` must hold, but got size={size}")

    def register(load: Load) -> Load:
        _encoders[name] = Registered(name=name, load=load, size=size)
        return load

    return register


def registered(name: str, module: str | None = None) -> Registered | None:
    """Finds a registered encoder, after importing the module or the entry point that registers it.

    Args:
        name: the name of the encoder.
        module: a Python file or the import path of a module, which is imported; None for none.

    Returns:
        The encoder; None if no module is given and nobody has registered the name.

    Raises:
        UserError: the module is not there, or does not register the name.
    """
    if module is not None:
        _import(module)
    elif name not in _encoders:
        for entry in metadata.entry_points(group=ENTRY_POINTS, name=name):
            entry.load()
    found = _encoders.get(name)
    if found is None and module is not None:
        others = f"; it registers {', '.join(sorted(_encoders))}" if _encoders else ""
        raise UserError(f"--encoder_module {module}: does not register the encoder {name}{others}")
    return found


def whole_path(module: str | None) -> str | None:
    """Returns the module as other processes find it: a Python file by its absolute path."""
    return str(Path(module).absolute()) if module is not None and _is_file(module) else module


def _is_file(module: str) -> bool:
    return module.endswith(".py") or "/" in module


def _import(module: str) -> None:
    """Imports a module, once in a process.

    Raises:
        UserError: there is no such module.
    """
    if not _is_file(module):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise  # the module is there, but lacks one of its own imports
            raise UserError(
                f"--encoder_module {module}: there is no such module; give its file, my_encoder.py"
            ) from None
        return
    path = Path(module).absolute()
    if not path.is_file():
        raise UserError(f"--encoder_module {module}: there is no such file")
    name = f"fervit_encoder_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--encoder_module {module}: is no Python file; give one that ends in .py")
    found = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(found)
    except BaseException:
        del sys.modules[name]
        raise


def _sha256(network: nn.Module, checkpoint: Path | None) -> str:
    """The SHA-256 of the checkpoint, or of the weights where there is none."""
    if checkpoint is not None:
        return sha256_of(checkpoint)
    digest = hashlib.sha256()
    for name, weight in network.state_dict().items():
        digest.update(name.encode() + weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
