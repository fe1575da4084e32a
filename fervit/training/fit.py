"""Whether latents and a configuration fit together."""

from __future__ import annotations

from dataclasses import replace

from fervit.errors import UserError
from fervit.latents import LatentSet
from fervit.latents.schema import same_encoder
from fervit.training.config import TrainConfig


def fit_to_data(config: TrainConfig, train: LatentSet, val: LatentSet) -> TrainConfig:
    """The configuration with `seq_len` taken from the data where it is 0; refuses data that does not fit."""
    seq_len, latent_dim = train.codes.shape[1:]
    if config.seq_len == 0:
        config = replace(config, seq_len=seq_len)
    if (config.seq_len, config.latent_dim) != (seq_len, latent_dim):
        raise UserError(
            f"{train.path}: holds codes of {seq_len} x {latent_dim}, but seq_len is {config.seq_len} and latent_dim "
            f"{config.latent_dim}; set them to the data's (seq_len 0 takes what the data has)"
        )
    if val.codes.shape[1:] != train.codes.shape[1:] or not same_encoder(val.encoder, train.encoder):
        raise UserError(
            f"{val.path}: its codes come from another encoder than those of {train.path}; encode both with one"
        )
    return config
