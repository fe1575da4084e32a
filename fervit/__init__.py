"""fervit: facial emotion recognition in StyleGAN's W+ space.

What works on data and models is a function, too, whose arguments have the names of the flags:

    fervit.encode("faces", "latents", encoder_model="pretrained_models/psp_ffhq_encode.pt")
    run = fervit.train("latents/train", "latents/val", recipe="strong")
    result = fervit.tune("search_spaces/vit.yaml", "latents")
    evaluation = fervit.evaluate(result.model, "latents/test")
    fervit.verify(result.folder)

A trained model is used as follows:

    model = fervit.load(result.model)              # a trained LatentViT with its labels and fingerprints
    logits = model(codes)                          # [n, 18, 512] -> [n, 7]

    model = fervit.load(result.model, encoder_model="pretrained_models/psp_ffhq_encode.pt")
    for face in model.predict(["face.jpg"]):
        print(face.label, face.confidence)

All names of this package are imported when they are first used, so that `import fervit` itself is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fervit.errors import JobError, UserError
from fervit.lazy import attributes
from fervit.threads import share_cores
from fervit.version import __version__

if TYPE_CHECKING:
    from fervit import encoders as encoders
    from fervit import latents as latents
    from fervit.api.audit import audit as audit
    from fervit.api.control import control as control
    from fervit.api.encode import encode as encode
    from fervit.api.evaluate import evaluate as evaluate
    from fervit.api.preprocess import preprocess as preprocess
    from fervit.api.train import train as train
    from fervit.api.tune import tune as tune
    from fervit.api.verify import verify as verify
    from fervit.evaluation.predictor import load as load

share_cores()

__all__ = [
    "JobError",
    "UserError",
    "__version__",
    "audit",
    "control",
    "encode",
    "encoders",
    "evaluate",
    "latents",
    "load",
    "preprocess",
    "train",
    "tune",
    "verify",
]

HOMES = {
    "audit": "fervit.api.audit",
    "control": "fervit.api.control",
    "encode": "fervit.api.encode",
    "evaluate": "fervit.api.evaluate",
    "load": "fervit.evaluation.predictor",
    "preprocess": "fervit.api.preprocess",
    "train": "fervit.api.train",
    "tune": "fervit.api.tune",
    "verify": "fervit.api.verify",
}
"""The module of each function. No function may have the name of a subpackage, which would replace it when imported."""

__getattr__ = attributes(__name__, HOMES, ("encoders", "latents"))


def __dir__() -> list[str]:
    """Lists the names that a notebook offers after `fervit.`, including those that are not imported yet.

    Returns:
        The public names, in alphabetical order.
    """
    return sorted({*globals(), *__all__})
