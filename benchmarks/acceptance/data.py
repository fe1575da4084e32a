"""Codes and trainings for the checks, made without files."""

from __future__ import annotations

import numpy as np
import torch

from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.labels.emotions import EMOTIONS
from fervit.latents import LatentSet
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents
from fervit.training.trainer import Trainer

FER2013_ROWS = 28_709
"""The training rows of FER2013."""


def random_latents(rows: int, seed: int = 0) -> LatentSet:
    """Makes W+ codes [rows, 18, 512] whose classes a model can learn, but not perfectly."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(EMOTIONS), rows)
    centres = np.random.default_rng(99).normal(0, 0.15, (len(EMOTIONS), 18, 512)).astype(np.float32)
    codes = np.empty((rows, 18, 512), np.float16)
    for start in range(0, rows, 2048):
        part = labels[start : start + 2048]
        codes[start : start + 2048] = centres[part] + rng.standard_normal((len(part), 18, 512), np.float32)
    ids = [f"{seed}-{i:06d}" for i in range(rows)]
    encoder = EncoderFingerprint(encoder="random", checkpoint_sha256="", seq_len=18, latent_dim=512)
    return LatentSet(path="memory", codes=codes, labels=labels, image_ids=ids, sha256=ids, encoder=encoder)


def small_config(**changes: object) -> TrainConfig:
    """Returns a small model, of which an epoch on 2,048 rows takes a moment."""
    small = {"embed_dim": 64, "depth": 2, "heads": 4, "mlp_dim": 128, "epochs": 6, "lr": 1e-3, "seed": 3}
    return TrainConfig(**{**small, **changes})  # type: ignore[arg-type]


def trainer(config: TrainConfig, device: str, rows: int | None = None, *, capture: bool = True) -> Trainer:
    """Makes a trainer on random codes: `rows` of them, or a number that suits the device."""
    train, val = random_latents(rows or (2048 if device == "cuda" else 192)), random_latents(128, seed=1)
    return Trainer(config, DeviceLatents(train, device), DeviceLatents(val, device), capture=capture)


def synchronize(device: str) -> None:
    """Waits for the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
