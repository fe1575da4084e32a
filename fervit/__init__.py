"""fervit: facial emotion recognition in StyleGAN's W+ space.

The commands of launch/ are functions, too, with arguments named as their flags:

    fervit.encode("faces", "latents", encoder_model="pretrained_models/psp_ffhq_encode.pt")
    run = fervit.train("latents/train", "latents/val", recipe="strong")
    result = fervit.tune("search_spaces/vit.yaml", "latents")
    evaluation = fervit.evaluate(result.model, "latents/test")

What they trained is ready to use:

    model = fervit.load(result.model)              # a trained LatentViT with its labels and fingerprints
    logits = model(codes)                          # [n, 18, 512] -> [n, 7]

    model = fervit.load(result.model, encoder_model="pretrained_models/psp_ffhq_encode.pt")
    for face in model.predict(["face.jpg"]):
        print(face.label, face.confidence)

Everything here is imported when it is first used: `import fervit` itself takes no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fervit.errors import JobError, UserError
from fervit.lazy import attributes
from fervit.version import __version__

if TYPE_CHECKING:
    from fervit import encoders as encoders
    from fervit import latents as latents
    from fervit.api.encode import encode as encode
    from fervit.api.evaluate import evaluate as evaluate
    from fervit.api.train import train as train
    from fervit.api.tune import tune as tune
    from fervit.evaluation.predictor import load as load

__all__ = [
    "JobError",
    "UserError",
    "__version__",
    "encode",
    "encoders",
    "evaluate",
    "latents",
    "load",
    "train",
    "tune",
]

HOMES = {
    "encode": "fervit.api.encode",
    "evaluate": "fervit.api.evaluate",
    "load": "fervit.evaluation.predictor",
    "train": "fervit.api.train",
    "tune": "fervit.api.tune",
}
"""The module of each function. None has the name of a room of fervit, whose import would take its place."""

__getattr__ = attributes(__name__, HOMES, ("encoders", "latents"))


def __dir__() -> list[str]:
    """The names that a notebook offers after `fervit.`, also before they are imported.

    Returns:
        The public names, in alphabetical order.
    """
    return sorted({*globals(), *__all__})
