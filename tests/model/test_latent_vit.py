from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fervit.model import LatentViT
from fervit.model.attention_recorder import record_attention
from fervit.model.dropout import Dropout, DropPath, Shard


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


def test_a_rank_without_rows_never_calls_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """On GPUs, the kernel of torch 2.6 to 2.9 refuses an empty batch ("batch size must be positive")."""
    fused = torch.nn.functional.scaled_dot_product_attention

    def refuses_empty(q: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        assert len(q) > 0
        return fused(q, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", refuses_empty)
    model = LatentViT(embed_dim=32, depth=1, heads=4, mlp_dim=64, dropout=0.0)
    logits = model(torch.zeros(0, 18, 512))
    assert logits.shape == (0, 7)
    logits.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())  # DDP waits for all of them


def test_the_readable_attention_gives_the_numbers_of_the_fused_one_and_is_recorded() -> None:
    torch.manual_seed(0)
    model = LatentViT(embed_dim=32, depth=3, heads=4, mlp_dim=64).eval()
    codes = torch.randn(5, 18, 512)
    fused = model(codes)
    with record_attention(model) as maps:
        readable = model(codes)
    torch.testing.assert_close(readable, fused, rtol=0, atol=1e-5)
    assert [tuple(layer.shape) for layer in maps] == [(5, 4, 19, 19)] * 3
    for layer in maps:
        torch.testing.assert_close(layer.sum(dim=-1), torch.ones(5, 4, 19))
    model(codes)
    assert len(maps) == 3  # nothing is recorded after the block
    assert torch.equal(model(codes), fused)


def test_recorded_attention_is_that_of_pytorchs_own_layer() -> None:
    torch.manual_seed(1)
    ours = LatentViT(seq_len=4, latent_dim=16, embed_dim=16, depth=1, heads=2, mlp_dim=16).eval()
    theirs = nn.MultiheadAttention(16, 2, batch_first=True)
    theirs.load_state_dict(ours.transformer["layers"][0].self_attn.state_dict())
    codes = torch.randn(3, 4, 16)
    tokens = torch.cat([ours.cls_token.expand(3, -1, -1), ours.input_proj(codes)], dim=1) + ours.pos_emb
    _, expected = theirs(tokens, tokens, tokens, average_attn_weights=False)
    with record_attention(ours) as maps:
        ours(codes)
    torch.testing.assert_close(maps[0], expected)


@pytest.mark.parametrize(
    "options",
    [
        {"pre_norm": True},
        {"activation": "gelu"},
        {"pooling": "mean"},
        {"standardise": True},
        {"pre_norm": True, "activation": "gelu", "drop_path": 0.2, "pooling": "mean", "standardise": True},
    ],
)
def test_options_change_the_logits_and_every_weight_still_learns(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    plain = LatentViT(embed_dim=32, depth=2, heads=4, mlp_dim=64)
    torch.manual_seed(0)
    model = LatentViT(embed_dim=32, depth=2, heads=4, mlp_dim=64, **options)
    if model.standardise:
        model.set_statistics(torch.full((18, 512), 0.5), torch.full((18, 512), 2.0))
    codes = torch.randn(64, 18, 512)
    assert not torch.allclose(model.eval()(codes), plain.eval()(codes), atol=1e-4)
    model.train()(codes).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_standardised_codes_do_not_depend_on_scale_and_offset() -> None:
    torch.manual_seed(0)
    model = LatentViT(embed_dim=32, depth=1, heads=4, mlp_dim=64, standardise=True).eval()
    codes = torch.randn(5, 18, 512)
    mean, std = torch.randn(18, 512), torch.rand(18, 512) + 0.5
    expected = model(codes)
    model.set_statistics(mean, std)
    torch.testing.assert_close(model(codes * std + mean), expected, rtol=0, atol=1e-5)
    assert {"code_mean", "code_std"} <= set(model.state_dict())  # kept with the weights


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(p, Shard())(torch.ones(1000, 1000))
    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=3e-3)
    assert dropped.mean().item() == pytest.approx(1, abs=5e-3)
    assert dropped.max().item() == pytest.approx(1 / (1 - p), rel=1e-4)


@pytest.mark.parametrize("layer", [Dropout, DropPath])
def test_ranks_drop_what_one_process_would(layer: type[Dropout | DropPath]) -> None:
    x = torch.randn(7, 5, 3)  # rows of 15 numbers, which do not fill words of four
    torch.manual_seed(0)
    whole = layer(0.5, Shard())(x)
    for start, stop in ((0, 3), (3, 7)):
        torch.manual_seed(0)
        part = layer(0.5, Shard(start, total=7))(x[start:stop])
        assert torch.equal(part, whole[start:stop])


def test_drop_path_drops_whole_rows() -> None:
    torch.manual_seed(0)
    rows = DropPath(0.3, Shard())(torch.ones(2000, 2, 2)).flatten(1)
    assert all(len(row.unique()) == 1 for row in rows)
    assert (rows[:, 0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.04)
