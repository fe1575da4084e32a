"""fervit: facial emotion recognition in StyleGAN's W+ space.

model = fervit.load("experiments/.../best")    # a trained LatentViT with its labels and fingerprints
logits = model(codes)                          # [n, 18, 512] -> [n, 7]

model = fervit.load("experiments/.../best", encoder_model="pretrained_models/psp_ffhq_encode.pt")
for face in model.predict(["face.jpg"]):
    print(face.label, face.confidence)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fervit.lazy import attributes
from fervit.version import __version__

if TYPE_CHECKING:
    from fervit import encoders as encoders
    from fervit import latents as latents
    from fervit.evaluation.predictor import load as load

__all__ = ["__version__", "encoders", "latents", "load"]


__getattr__ = attributes(__name__, {"load": "fervit.evaluation.predictor"}, ("encoders", "latents"))
