"""The errors for wrong checkpoints, which are tiny files with the official keys."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fervit.encoders import load_encoder
from fervit.encoders.official import OfficialCheckpoint
from fervit.errors import UserError

Tiny = Callable[..., Path]


def refusal(kind: str, path: Path) -> str:
    with pytest.raises(UserError) as error:
        load_encoder(kind, path)
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize(("n_styles", "kind"), [(18, "psp"), (16, "psp"), (14, "e4e")])
def test_the_number_of_styles_is_read_from_the_keys(tiny: Tiny, n_styles: int, kind: str) -> None:
    official = OfficialCheckpoint(kind, tiny(kind, n_styles))
    assert official.n_styles == n_styles
    assert official.latent_avg.shape == (n_styles, 512)
    assert official.encoder(torch.bfloat16)(torch.zeros(1, 3, 256, 256).bfloat16()).shape == (1, n_styles, 512)


def test_a_missing_file_says_what_to_download(tmp_path: Path) -> None:
    for kind, name in (("psp", "psp_ffhq_encode.pt"), ("e4e", "e4e_ffhq_encode.pt")):
        assert f"download {name}" in refusal(kind, tmp_path / "pretrained_models" / "x.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><html>Google Drive - Quota exceeded</html>", r"is a web page \(HTML\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"\x89PNG" + bytes(1000), "is no PyTorch checkpoint"),
    ],
)
def test_what_is_no_checkpoint_at_all_is_recognised(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "psp_ffhq_encode.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_encoder("psp", path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_is_cut_off_is_recognised(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "psp.pt"
    torch.save({"state_dict": {"a": torch.zeros(10_000)}}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:20_000])
    assert "is cut off" in refusal("psp", path)


def test_the_other_kind_is_told_by_the_options(tiny: Tiny) -> None:
    assert "is a checkpoint of psp (GradualStyleEncoder), not of e4e" in refusal("e4e", tiny("psp"))
    assert "give --encoder_type e4e" in refusal("psp", tiny("e4e"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_type": "BackboneEncoderUsingLastLayerIntoW"}, "is of type BackboneEncoderUsingLastLayerIntoW"),
        ({"input_nc": 19, "label_nc": 19}, "input_nc 19"),
        ({"input_nc": "1"}, "input_nc 1"),
        ({"learn_in_w": True}, "learn_in_w"),
        ({"dataset_type": "cars_encode"}, "trained on cars"),
        ({"encoder_type": ["GradualStyleEncoder"]}, "its option encoder_type is list"),
        ({"encoder_type": "a\nb" + 1000 * "c"}, "is of type a?bccc"),
        ({"input_nc": torch.zeros(2)}, "its option input_nc is float32 [2]"),
        ({"input_nc": "²"}, "input_nc ²"),
    ],
)
def test_encoders_that_fervit_does_not_do_are_named(tiny: Tiny, options: dict[str, Any], message: str) -> None:
    assert message in refusal("psp", tiny(change=lambda content: content["opts"].update(options)))


def with_weight(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["state_dict"].update({name: value})


STEM = "encoder.input_layer.0.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("latent_avg"), "has no 'latent_avg'"),
        (lambda content: content.update(latent_avg=torch.zeros(16, 512)), "latent_avg is float32 [16, 512], but must"),
        (lambda content: content.update(latent_avg=torch.full((18, 512), torch.nan)), "latent_avg has NaN"),
        (lambda content: content.pop("state_dict"), "has no 'state_dict'"),
        (lambda content: content["state_dict"].pop(STEM), f"lacks {STEM}, unlike"),
        (lambda content: content["state_dict"].clear(), "holds no 'encoder.styles.*'"),
        (with_weight("encoder.extra", torch.zeros(1)), "has encoder.extra, unlike"),
        (with_weight("encoder.styles.20.linear.bias", torch.zeros(512)), "has 21 styles"),
        (with_weight(STEM, torch.zeros(64, 1, 3, 3)), f"{STEM} is float32 [64, 1, 3, 3], but must be float32 [64, 3"),
        (with_weight(STEM, torch.zeros(64, 3, 3, 3).half()), f"{STEM} is float16 [64, 3, 3, 3], but must be float32"),
        (lambda content: content.update(opts=torch.zeros(2)), "its 'opts' are no dict"),
        (lambda content: content.update(latent_avg=torch.zeros(18, 512).to_sparse()), "latent_avg is float32"),
        (lambda content: content.update(latent_avg=torch.zeros(18, 512).int()), "latent_avg is int32"),
        (
            lambda content: content.update(latent_avg=torch.full((18, 512), 1e300, dtype=torch.float64)),
            "latent_avg has NaN",
        ),
        (with_weight(STEM, torch.zeros(64, 3, 3, 3).to_sparse()), f"{STEM} is Tensor, not a plain tensor"),
        (with_weight("encoder.\n" + 1000 * "x", torch.zeros(1)), "has encoder.?xxx"),
        (with_weight(STEM, [1, 2]), f"{STEM} is list, not a plain tensor"),
        (with_weight(STEM, torch.full((64, 3, 3, 3), torch.inf)), f"{STEM} has NaN or infinite"),
        (with_weight("encoder.styles.17.linear.bias", torch.full((512,), torch.nan)), "17.linear.bias has NaN"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    tiny: Tiny, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    assert message in refusal("psp", tiny(change=change))


def test_without_the_average_where_it_was_trained_without(tiny: Tiny) -> None:
    def change(content: dict[str, Any]) -> None:
        content["opts"]["start_from_latent_avg"] = False
        content["latent_avg"] = torch.ones(18, 512)

    assert not OfficialCheckpoint("psp", tiny(change=change)).latent_avg.any()


def test_an_average_of_one_row_is_for_all_styles(tiny: Tiny) -> None:
    row = torch.arange(512.0)
    for average in (row, row[None]):
        official = OfficialCheckpoint("psp", tiny(change=lambda content, a=average: content.update(latent_avg=a)))
        assert torch.equal(official.latent_avg, row.expand(18, 512))


class Evil:
    """An object that creates a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self.witness),)  # type: ignore[return-value]


def test_a_checkpoint_that_wants_to_run_code_runs_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    for name, zipped in (("zip.pt", True), ("old.pt", False)):
        torch.save({"state_dict": Evil(witness)}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Evil(witness)))
    for name in ("zip.pt", "old.pt", "bare.pt"):
        assert "nothing was executed" in refusal("psp", tmp_path / name)
        assert not witness.exists()


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert "is a folder" in refusal("psp", tmp_path)


def test_a_file_without_a_decoder_cannot_reconstruct(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"holds no decoder .*leave --reconstruct out"):
        OfficialCheckpoint("psp", tiny()).decoder()
