from __future__ import annotations

import pytest
import torch

from fervit.model import LatentViT


def test_codes_become_logits_and_every_layer_starts_with_weights_of_its_own() -> None:
    model = LatentViT(embed_dim=32, depth=3, heads=4, mlp_dim=64)
    assert model(torch.randn(5, 18, 512)).shape == (5, 7)
    weights = [layer.self_attn.out_proj.weight for layer in model.transformer.layers]
    assert len(weights) == 3
    assert not torch.equal(weights[0], weights[1])


def test_the_default_model_has_the_keys_and_the_size_of_earlier_checkpoints() -> None:
    with torch.device("meta"):
        model = LatentViT()
    state = model.state_dict()
    prefixes = {key.split(".")[0] for key in state}
    assert prefixes == {"cls_token", "pos_emb", "input_proj", "transformer", "mlp_head"}
    assert {"mlp_head.0.weight", "mlp_head.1.bias", "transformer.layers.5.self_attn.in_proj_weight"} <= set(state)
    assert sum(value.numel() for value in state.values()) == 19_191_815


def test_the_order_of_the_styles_matters() -> None:
    model = LatentViT(embed_dim=32, depth=1, heads=4, mlp_dim=64).eval()
    codes = torch.randn(2, 18, 512)
    assert not torch.allclose(model(codes), model(codes.flip(1)), atol=1e-4)


def test_codes_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"codes must be \[n, 18, 512\]"):
        LatentViT(embed_dim=32, depth=1, heads=4)(torch.zeros(2, 14, 512))
