"""Compares fervit's codes with those of a clone of pixel2style2pixel or encoder4editing, on the same checkpoint.

    git clone <eladrich/pixel2style2pixel or omertov/encoder4editing> third_party/CLONE
    python third_party/check_parity.py --clone third_party/CLONE --encoder_type psp --encoder_model psp_ffhq_encode.pt

Run it from fervit's folder. Only the clone's encoder runs; its two compiled CUDA operations, which encoders do not use,
are not built. The clone's code is executed: clone only what you trust.
"""

from __future__ import annotations

import importlib
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fervit.cli import Parser, positive_int, run
from fervit.encoders import load_encoder
from fervit.encoders.official import GENERATOR_SIZES, NETWORKS
from fervit.errors import UserError
from fervit.images.index import open_faces
from fervit.images.pictures import resize
from fervit.io.torch_files import load_untrusted

LIMIT = 1e-5
"""Relative L2 in float32; the same network in another memory layout is some 3e-6 off."""
SIZE = 256


def main() -> int:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--clone", required=True, help="folder of the upstream repository")
    parser.add_argument("--encoder_type", choices=tuple(NETWORKS), default="psp", help="psp or e4e")
    parser.add_argument("--encoder_model", required=True, help="the encoder's checkpoint")
    parser.add_argument("--data_root", help="faces to compare on; left out, smooth random pictures")
    parser.add_argument("--images", type=positive_int, default=3, help="how many")
    args = parser.parse()

    images = some_faces(args.data_root, args.images) if args.data_root else smooth_pictures(args.images)
    check_clone(Path(args.clone), args.encoder_type)
    ours = load_encoder(args.encoder_type, args.encoder_model)
    theirs = upstream_encoder(Path(args.clone), args.encoder_type, Path(args.encoder_model))
    with torch.inference_mode():
        expected = theirs(images) + upstream_average(Path(args.encoder_model))
        found = ours(images)
    each = (found - expected).norm(dim=2) / expected.norm(dim=2)  # [images, n_styles]
    total = float((found - expected).norm() / expected.norm())
    print(f"{len(images)} images, codes {list(found.shape[1:])}, float32")
    for style, off in enumerate(each.mean(dim=0).tolist()):
        print(f"  style {style:2}: relative L2 {off:.2e}")
    print(f"all styles: relative L2 {total:.2e}; {'equal' if total <= LIMIT else 'NOT EQUAL'} (limit {LIMIT:g})")
    return 0 if total <= LIMIT else 1


def check_clone(clone: Path, kind: str) -> None:
    """Raises UserError if the folder is not laid out as the upstream repository of that kind."""
    encoders = clone / "models" / "encoders" / "psp_encoders.py"
    if not encoders.is_file():
        raise UserError(
            f"--clone {clone}: has no models/encoders/psp_encoders.py; clone pixel2style2pixel (psp) or "
            "encoder4editing (e4e) there"
        )
    if f"class {NETWORKS[kind].__name__}(" not in encoders.read_text():
        raise UserError(f"--clone {clone}: has no {NETWORKS[kind].__name__}; {kind} needs the other repository")


def upstream_encoder(clone: Path, kind: str, checkpoint: Path) -> nn.Module:
    """The clone's own network with the checkpoint's weights, which fervit has checked."""
    sys.path.insert(0, str(clone.resolve()))
    sys.modules["models.stylegan2.op"] = plain_operations()
    encoders = importlib.import_module("models.encoders.psp_encoders")
    prefix = "encoder."
    state = load_untrusted(checkpoint)["state_dict"]
    weights = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    n_styles = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("styles."))
    size = GENERATOR_SIZES[n_styles]
    options = Namespace(input_nc=3, n_styles=n_styles, output_size=size, stylegan_size=size)
    network: nn.Module = getattr(encoders, NETWORKS[kind].__name__)(50, "ir_se", options)
    network.load_state_dict(weights, strict=True)
    return network.eval()


def upstream_average(checkpoint: Path) -> Tensor:
    """The average code that the upstream scripts add, read from the file itself rather than with fervit's reader.

    They add `latent_avg` if the option start_from_latent_avg is set; files without the option that have one mean it.
    """
    content = load_untrusted(checkpoint)
    average, options = content.get("latent_avg"), content.get("opts") or {}
    if average is None or not options.get("start_from_latent_avg", True):
        return torch.zeros(1)
    return torch.as_tensor(average).float()


def plain_operations() -> ModuleType:
    """A stand-in for the package that compiles CUDA code when it is imported. Encoders call none of it."""
    module = ModuleType("models.stylegan2.op")

    def unused(*_: object, **__: object) -> Tensor:
        raise NotImplementedError("the clone's compiled operations are not built for this check")

    class FusedLeakyReLU(nn.Module):
        def __init__(self, channels: int, negative_slope: float = 0.2, scale: float = 2**0.5) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(channels))

        forward = unused

    module.FusedLeakyReLU = FusedLeakyReLU  # type: ignore[attr-defined]
    module.fused_leaky_relu = module.upfirdn2d = unused  # type: ignore[attr-defined]
    return module


def smooth_pictures(n: int) -> Tensor:
    """[n, 3, 256, 256] in [-1, 1]: noise at five scales."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(n, 3, SIZE, SIZE)
    for side in (4, 8, 16, 64, 256):
        coarse = torch.randn(n, 3, side, side, generator=generator)
        total += 0.4 * F.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear")
    return total.clamp(-1, 1)


def some_faces(data_root: str, n: int) -> Tensor:
    faces = [resize(face.pixels, SIZE) for _, face in zip(range(n), open_faces(data_root).stream(), strict=False)]
    return torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float() / 127.5 - 1


if __name__ == "__main__":
    run(main)
