"""An encoder of others is registered in a few lines, and is then used as fervit's own are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import fervit
from fervit.encoders import load_encoder, register_encoder
from fervit.encoders.registered import ENTRY_POINTS
from fervit.encoders.registry import fingerprint_of, load_decoder
from fervit.errors import UserError

MODULE = """
import torch
from fervit.encoders import register_encoder


class Means(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, images):  # [n, 3, 32, 32] -> [n, 4, 3]
        quarters = torch.nn.functional.adaptive_avg_pool2d(images, 2)
        return self.scale * quarters.flatten(2).transpose(1, 2)


@register_encoder("{name}", size=32)
def load(checkpoint):
    network = Means()
    if checkpoint is not None:
        network.load_state_dict(torch.load(checkpoint, weights_only=True))
    return network
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "my_encoder.py"
    path.write_text(MODULE.format(name="means"))
    return str(path)


def test_its_codes_are_what_its_network_gives(module: str, tmp_path: Path) -> None:
    torch.save({"scale": torch.tensor([2.0])}, tmp_path / "weights.pt")
    encoder = load_encoder("means", tmp_path / "weights.pt", module=module)
    images = torch.full((2, 3, 32, 32), 0.25)
    torch.testing.assert_close(encoder(images), torch.full((2, 4, 3), 0.5))
    found = encoder.fingerprint
    assert (found.encoder, found.seq_len, found.latent_dim, found.size, found.untrained) == ("means", 4, 3, 32, False)
    assert found.same_codes(fingerprint_of("means", tmp_path / "weights.pt", module))
    assert not found.same_codes(fingerprint_of("means", None, module))  # other weights


def test_half_precision_is_used_where_it_is_asked_for(module: str) -> None:
    encoder = load_encoder("means", precision="bfloat16", module=module)
    assert encoder.network.scale.dtype == torch.bfloat16
    assert encoder(torch.zeros(1, 3, 32, 32)).dtype == torch.float32


def test_a_module_on_the_import_path_and_an_entry_point_register_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("by_import", "by_entry"):
        (tmp_path / f"fervit_{name}.py").write_text(MODULE.format(name=name))
    info = tmp_path / "by_entry-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: by_entry\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nby_entry = fervit_by_entry:load\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_encoder("by_import", module="fervit_by_import").fingerprint.encoder == "by_import"
    assert load_encoder("by_entry").fingerprint.encoder == "by_entry"


def test_mistakes_are_a_line(module: str, tmp_path: Path) -> None:
    for wrong, args in (
        ("--encoder_module nowhere.py: there is no such file", ("means", None, "cpu", "float32", "nowhere.py")),
        ("there is no such module", ("means", None, "cpu", "float32", "fervit_no_such_module")),
        ("does not register the encoder mean", ("mean", None, "cpu", "float32", module)),
        ("goes with the --encoder_type that it registers, not psp", ("psp", None, "cpu", "float32", module)),
        ("no_such.pt: there is no such file", ("means", "no_such.pt", "cpu", "float32", module)),
        ("known are psp, e4e, demo", ("nobodys",)),
    ):
        with pytest.raises(UserError, match=wrong):
            load_encoder(*args)
    with pytest.raises(UserError, match="has no decoder"):
        load_decoder("means", None)
    for name in ("psp", "unknown", "a name"):
        with pytest.raises(UserError, match="register_encoder"):
            register_encoder(name)
    for returned, what in ((nn.Flatten(), "but gave \\[1, 192\\]"), (torch.zeros(1), "but returned Tensor")):
        register_encoder("flat", size=8)(lambda _, returned=returned: returned)
        with pytest.raises(UserError, match=what):
            load_encoder("flat")


def test_a_module_that_fails_is_not_left_half_imported(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import no_such_package_of_mine\n")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_package_of_mine"):
            load_encoder("broken", module=str(path))
    assert not [name for name in sys.modules if getattr(sys.modules[name], "__file__", None) == str(path)]


@pytest.mark.long
def test_faces_are_encoded_in_other_processes_and_a_model_predicts_with_it(
    module: str, demo_faces: Path, cluster: object, tmp_path: Path
) -> None:
    out = tmp_path / "latents"
    result = fervit.encode(demo_faces, out, encoder_type="means", encoder_module=module, say=None)
    assert (result.done, result.failed) == (77, 0)
    latents = fervit.latents.LatentSet.read(str(out / "train"))
    assert latents.codes.shape == (42, 4, 3)
    assert (latents.encoder.encoder, latents.encoder.precision) == ("means", "float32")
    small = {"embed_dim": 8, "heads": 2, "depth": 1, "mlp_dim": 8, "seq_len": 0, "latent_dim": 3}
    run = fervit.train(
        out / "train",
        out / "val",
        epochs=1,
        batch_size=16,
        output_dir=tmp_path,
        use_gpu=False,
        say=None,
        address=None,
        **small,
    )
    model = fervit.load(run.model, encoder_module=module)
    picture = next(demo_faces.rglob("*.png"))
    assert model.predict([picture])[0].label in model.labels
