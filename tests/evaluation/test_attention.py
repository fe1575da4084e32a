from __future__ import annotations

import numpy as np
import torch

from fervit.evaluation.attention import FLAT, attend
from fervit.model import LatentViT
from tests.conftest import CONFIG, latent_set, trained


def test_the_rollout_of_one_layer_is_its_attention() -> None:
    torch.manual_seed(0)
    model = LatentViT(seq_len=4, latent_dim=16, embed_dim=16, depth=1, heads=2, mlp_dim=16).eval()
    maps = attend(model, latent_set(3).codes, batch_size=5)
    of_class_token = maps.between[:, 0, 1:]
    np.testing.assert_allclose(maps.rollout, of_class_token / of_class_token.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(maps.between.sum(axis=2), 1, rtol=1e-5)
    assert maps.rollout.shape == maps.cosine.shape == (21, 4)
    assert np.abs(maps.cosine).max() <= 1 + 1e-6


def test_a_style_that_decides_is_seen() -> None:
    latents = latent_set(30)
    latents.codes[:, [0, 1, 3]] = 0  # only the third style tells the classes apart
    checkpoint = trained(CONFIG)
    model = checkpoint.model()
    with torch.no_grad():  # the class token asks for what the third position offers
        attention = model.transformer["layers"][0].self_attn
        attention.in_proj_bias.zero_()
        attention.in_proj_weight[:32].copy_(torch.eye(16).repeat(2, 1) * 3)
        model.input_proj.weight.zero_()
        model.input_proj.bias.zero_()
        model.pos_emb.zero_()
        model.cls_token[:] = 1
        model.pos_emb[:, 3] = 1
    maps = attend(model, latents.codes)
    assert maps.rollout.argmax(axis=1).tolist() == [2] * len(latents)
    assert maps.peaks.mean() > FLAT


def test_an_untrained_model_is_flat_and_mean_pooling_is_read() -> None:
    torch.manual_seed(0)
    model = LatentViT(pooling="mean", depth=2).eval()
    codes = np.random.default_rng(0).normal(size=(8, 18, 512)).astype(np.float16)
    maps = attend(model, codes)
    assert maps.peaks.mean() < FLAT
    np.testing.assert_allclose(maps.rollout.sum(axis=1), 1, rtol=1e-5)
