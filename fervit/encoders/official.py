"""The official checkpoints of pSp and e4e: checks what a file holds and loads the part of it that is wanted.

A file holds

    {"state_dict": {"encoder.*": ..., "decoder.*": ...}, "latent_avg": [n_styles, 512], "opts": {...}}

The file is untrusted: nothing in it is executed, and every tensor is compared with what the network has before one of
them is used.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fervit.encoders.e4e import Encoder4Editing
from fervit.encoders.fast.fuse import fuse
from fervit.encoders.psp import GradualStyleEncoder
from fervit.encoders.stylegan2 import Decoder
from fervit.errors import UserError
from fervit.io.files import sha256_of
from fervit.io.torch_files import StateDict, load_untrusted

NETWORKS: dict[str, type[GradualStyleEncoder]] = {"psp": GradualStyleEncoder, "e4e": Encoder4Editing}
REPOSITORIES = {"psp": "eladrich/pixel2style2pixel", "e4e": "omertov/encoder4editing"}
"""The repositories whose READMEs link the official files."""
OFFICIAL_FILES = {"psp": "psp_ffhq_encode.pt", "e4e": "e4e_ffhq_encode.pt"}
OPTIONS = ("encoder_type", "input_nc", "label_nc", "dataset_type", "learn_in_w", "start_from_latent_avg")
"""The options that decide what codes mean. The others only describe the training of the encoder."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PLAIN = (str, int, float, bool, type(None))
GENERATOR_SIZES = {18: 1024, 16: 512, 14: 256}
"""The number of styles of a StyleGAN2 generator -> the side of its pictures in pixels."""


class OfficialCheckpoint:
    """One checkpoint file. Its tensors are memory-mapped, not read, where the format allows that.

    Args:
        kind: "psp" or "e4e".
        path: the file.

    Raises:
        UserError: there is no such file, or it is not a checkpoint of that kind; the text says why.
    """

    def __init__(self, kind: str, path: Path) -> None:
        self.kind, self.path = kind, path
        official = OFFICIAL_FILES[kind]
        if path.is_dir():
            raise self._error(f"is a folder; name the file in it, {official}")
        if not path.is_file():
            raise UserError(
                f"--encoder_model {path}: there is no such file; download {official}, which the README of "
                f"github.com/{REPOSITORIES[kind]} links, and name it, as pretrained_models/{official}"
            )
        content = self._read()
        options = content.get("opts", {})
        if not isinstance(options, dict):
            raise self._error("its 'opts' are no dict of options; save them as one (vars of the Namespace)")
        for key in OPTIONS:
            if not isinstance(options.get(key), PLAIN):
                raise self._error(f"its option {key} is {_describe(options[key])}, not a plain value")
        self._check_options(options)
        weights = _part(content["state_dict"], "encoder.")
        self.n_styles = self._count_styles(weights)
        self._check_tensors(weights, self._skeleton().state_dict())
        self.latent_avg = self._latent_avg(content.get("latent_avg"), options)

    def encoder(self, dtype: torch.dtype) -> nn.Module:
        """Loads the network in its fast form (`fervit.encoders.fast.fuse`), without the average latent.

        The weights are converted a few layers at a time, so that memory never holds them twice.
        """
        network = self._skeleton()
        for names, weights in self._chunks([name for name, _ in _parts(network)], "encoder."):
            for name in names:
                part = network.get_submodule(name)
                self._fill(part, _part(weights, f"{name}."), f"encoder.{name}.")
                fuse(part, dtype)
            del weights, part  # the memory mapping is closed with its last tensor
        return network

    def decoder(self) -> Decoder:
        """Loads the StyleGAN2 generator that the encoder was trained for, in float32.

        Raises:
            UserError: the file holds no generator, or one that does not fit the encoder's number of styles.
        """
        weights = _part(self._read()["state_dict"], "decoder.")
        if not weights:
            raise self._error("holds no decoder ('decoder.*') to show what codes say with; leave --reconstruct out")
        with torch.device("meta"):
            decoder = Decoder(size=GENERATOR_SIZES[self.n_styles])
        self._check_tensors(weights, decoder.state_dict(), "decoder.")
        self._fill(decoder, {name: value.clone() for name, value in weights.items()}, "decoder.")
        return decoder.eval().requires_grad_(False)

    def sha256(self) -> str:
        """The SHA-256 of the whole file, in hexadecimal."""
        return sha256_of(self.path)

    def _read(self) -> Mapping[str, Any]:
        try:
            content = load_untrusted(self.path, mmap=True)
        except UserError as error:
            raise UserError(f"--encoder_model {error}") from None
        if not isinstance(content, dict) or not isinstance(content.get("state_dict"), Mapping):
            raise self._error(f"has no 'state_dict'; {OFFICIAL_FILES[self.kind]} is wanted")
        return content

    def _check_options(self, options: Mapping[str, Any]) -> None:
        network = options.get("encoder_type", NETWORKS[self.kind].__name__)
        kind_of_file = next((kind for kind, known in NETWORKS.items() if known.__name__ == network), None)
        if kind_of_file is None:
            known = " and ".join(f"{known.__name__} ({kind})" for kind, known in NETWORKS.items())
            raise self._error(f"its encoder is of type {_shown(network)}, which fervit does not do; it does {known}")
        if kind_of_file != self.kind:
            raise self._error(
                f"is a checkpoint of {kind_of_file} ({network}), not of {self.kind}, whose codes would differ: "
                f"give --encoder_type {kind_of_file}, or {OFFICIAL_FILES[self.kind]}"
            )
        channels, classes = (_number(options.get(key, default)) for key, default in (("input_nc", 3), ("label_nc", 0)))
        if channels != 3 or classes != 0:
            raise self._error(
                f"takes input with input_nc {_shown(channels)}, label_nc {_shown(classes)} "
                f"(sketches or segmentation maps); faces need RGB, 3 and 0: use {OFFICIAL_FILES[self.kind]}"
            )
        if "cars" in str(options.get("dataset_type", "")):
            raise self._error(f"was trained on cars (192 x 256); faces need {OFFICIAL_FILES[self.kind]}")
        if _true(options.get("learn_in_w", False)):
            raise self._error("predicts W, one style for all (learn_in_w); fervit needs W+, a style a layer")

    def _count_styles(self, weights: Mapping[str, Any]) -> int:
        numbers = {int(match[1]) for name in weights if (match := re.match(r"styles\.(\d{1,3})\.", name))}
        if not numbers:
            raise self._error(f"holds no 'encoder.styles.*' weights; {OFFICIAL_FILES[self.kind]} is wanted")
        n_styles = max(numbers) + 1
        if n_styles not in GENERATOR_SIZES:
            raise self._error(f"has {n_styles} styles; generators of 256, 512 and 1024 pixels have 14, 16 and 18")
        return n_styles

    def _skeleton(self) -> GradualStyleEncoder:
        with torch.device("meta"):
            return NETWORKS[self.kind](n_styles=self.n_styles).eval().requires_grad_(False)

    def _check_tensors(
        self, found: Mapping[str, Any], expected: Mapping[str, Tensor], prefix: str = "encoder."
    ) -> None:
        """Refuses tensors whose names, shapes or types differ from those of the network."""
        for what, names in (("lacks", expected.keys() - found.keys()), ("has", found.keys() - expected.keys())):
            if names:
                rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
                raise self._error(
                    f"{what} {prefix}{_shown(min(names))}{rest}, unlike {self.kind}'s network with {self.n_styles} "
                    "styles; is it another network's file?"
                )
        for name, tensor in expected.items():
            value = found[name]
            if not _is_plain(value):
                raise self._error(f"{prefix}{name} is {type(value).__name__}, not a plain tensor; download it again")
            if value.shape != tensor.shape or value.dtype != tensor.dtype:
                raise self._error(
                    f"{prefix}{name} is {_describe(value)}, but must be {_describe(tensor)}; is it another network's "
                    "file?"
                )

    def _latent_avg(self, average: Any, options: Mapping[str, Any]) -> Tensor:
        """The average latent [n_styles, 512]: what is added to the output of the network, or zeros if nothing is."""
        if not _true(options.get("start_from_latent_avg", True)):
            return torch.zeros(self.n_styles, 512)
        if average is None:
            raise self._error(
                "has no 'latent_avg', to which its codes are added (start_from_latent_avg); save it into the file: the "
                f"generator's mean w, [{self.n_styles}, 512]"
            )
        allowed = ((self.n_styles, 512), (1, 512), (512,))
        if not _is_plain(average) or tuple(average.shape) not in allowed or average.dtype not in FLOATS:
            raise self._error(f"its latent_avg is {_describe(average)}, but must be float [{self.n_styles}, 512]")
        row: Tensor = average.detach().float()
        if not _finite(row):
            raise self._error("its latent_avg has NaN or infinite numbers; download it again")
        return row.expand(self.n_styles, 512).clone()

    def _fill(self, module: nn.Module, weights: dict[str, Tensor], prefix: str) -> None:
        for name, value in weights.items():
            if not _finite(value):
                raise self._error(f"{prefix}{name} has NaN or infinite numbers; download it again")
        module.load_state_dict(weights, strict=True, assign=True)

    def _chunks(self, names: list[str], prefix: str, size: int = 4) -> Iterator[tuple[list[str], dict[str, Tensor]]]:
        """Yields the names and weights of a few layers at a time, each time from a new memory mapping of the file.

        The pages of a mapping that were read count as memory of this process until the mapping is closed. A file in
        the old format of torch.save cannot be mapped: it is read once, and its tensors are freed as they are yielded.
        """
        if zipfile.is_zipfile(self.path):
            for i in range(0, len(names), size):
                yield names[i : i + size], _part(self._read()["state_dict"], prefix)
            return
        whole = _part(self._read()["state_dict"], prefix)
        for name in names:
            taken = {key: whole.pop(key) for key in list(whole) if key.startswith(f"{name}.")}
            yield [name], taken

    def _error(self, text: str) -> UserError:
        return UserError(f"--encoder_model {self.path}: {text}")


def _part(weights: Mapping[Any, Any], prefix: str) -> StateDict:
    """The entries whose keys begin with `prefix`, under keys without the prefix."""
    return {key[len(prefix) :]: value for key, value in weights.items() if str(key).startswith(prefix)}


def _parts(network: GradualStyleEncoder) -> Iterator[tuple[str, nn.Module]]:
    """Yields the names and modules of pieces of the network, each of at most about 130 MB."""
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{i}", head) for i, head in enumerate(child))
        else:
            yield name, child


def _finite(value: Tensor) -> bool:
    """Whether all numbers are finite. A finite sum proves it without a second tensor of the same size."""
    return not value.is_floating_point() or math.isfinite(value.sum()) or bool(value.isfinite().all())


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _number(value: Any) -> Any:
    """Converts text to a number, since some published files hold numbers as text; other values stay as they are."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


def _true(value: Any) -> bool:
    return value not in ("False", "false", "0", "") if isinstance(value, str) else bool(value)


def _shown(value: Any) -> str:
    """A value from the file as printable text of at most 80 characters, fit for a message of one line."""
    return "".join(c if c.isprintable() else "?" for c in str(value)[:80])


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__
