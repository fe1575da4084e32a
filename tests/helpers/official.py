"""Checkpoints in the official layout: full-size ones made as in ../shared, and tiny ones with the same keys."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch


class Official(NamedTuple):
    """Full-size checkpoints of seed 0, tagged as saved on a GPU: pSp in the zip format, e4e in the old one."""

    psp: Path
    e4e: Path
    recipe: ModuleType


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Official]:
    spec = Path(__file__).resolve().parents[3] / "shared" / "spec"
    if not spec.is_dir():
        pytest.skip("../shared is not here")
    sys.path.insert(0, str(spec))
    try:
        import make_checkpoint as recipe
    finally:
        sys.path.remove(str(spec))
    keys = json.loads((spec / "psp_encoder_keys.json").read_text())
    keys += json.loads((spec / "stylegan2_1024_decoder_keys.json").read_text())
    # The weights of a seed are the same for both kinds.
    state = recipe.make_state_dict([key for key in keys if key[0] != "latent_avg"], 0)
    content = {
        "state_dict": {name: torch.from_numpy(value) for name, value in state.items()},
        "latent_avg": torch.from_numpy(recipe.make_latent_avg(0)),
    }
    folder = tmp_path_factory.mktemp("pretrained_models")
    made = Official(folder / "psp_ffhq_encode.pt", folder / "e4e_ffhq_encode.pt", recipe)
    location_tag = torch.serialization.location_tag
    torch.serialization.location_tag = lambda storage: "cuda:0"
    try:
        torch.save({**content, "opts": recipe.PSP_OPTS}, made.psp)
        torch.save({**content, "opts": recipe.E4E_OPTS}, made.e4e, _use_new_zipfile_serialization=False)
    finally:
        torch.serialization.location_tag = location_tag
    yield made
    for path in (made.psp, made.e4e):  # pytest would keep 2.4 GB
        path.unlink()


@pytest.fixture
def tiny(shared: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint with the official keys and shapes, all numbers 0 and stored once: a file of some 100 KB."""

    def write(kind: str = "psp", n_styles: int = 18, change: Callable[[dict[str, Any]], object] | None = None) -> Path:
        keys = json.loads((shared / "spec" / f"{kind}_encoder_keys.json").read_text())
        zeros = {dtype: torch.zeros((), dtype=getattr(torch, dtype)) for dtype in ("float32", "int64")}
        dropped = tuple(f"encoder.styles.{i}." for i in range(n_styles, 18))
        content: dict[str, Any] = {
            "state_dict": {
                name: zeros[dtype].expand(shape)
                for name, shape, dtype in keys
                if name != "latent_avg" and not name.startswith(dropped)
            },
            "latent_avg": torch.zeros(n_styles, 512),
            "opts": {"encoder_type": {"psp": "GradualStyleEncoder", "e4e": "Encoder4Editing"}[kind], "batch_size": "8"},
        }
        if change is not None:
            change(content)
        path = tmp_path / f"{kind}.pt"
        torch.save(content, path)
        return path

    return write
