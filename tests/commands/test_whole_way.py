"""All commands from the faces to the report, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

from fervit.cluster.nodes import Cluster
from tests.conftest import ROOT, Command


def test_the_whole_way_from_faces_to_an_evaluation(
    command: Command, cluster: Cluster, demo_faces: Path, tmp_path: Path
) -> None:
    encoded = command("encode", "--data-root", demo_faces, "--latent_out", "latents", "--encoder_type=demo")
    assert encoded.status == 0, encoded.err
    assert "UNTRAINED" in encoded.out
    assert "encoded 77 images" in encoded.out

    small = ("--set", "search.trials=2", "--set", "early_stopping.max_epochs=3", "--set", "confirm.top=0")
    tuned = command("tune", "--space", ROOT / "search_spaces" / "demo.yaml", *small)
    assert tuned.status == 0, tuned.err
    assert "1 of 6 pairs of embed_dim and heads are left out" in tuned.out
    summary = tuned.out[tuned.out.index("Sweep demo") :]
    for word in ("Best: trial", "lr ", "Test: macro-F1", "on 14 faces", "UNTRAINED", "tensorboard", "no Ray dashboard"):
        assert word in summary
    assert summary.count("\n") < 25

    (folder,) = (tmp_path / "experiments").iterdir()
    evaluated = command(
        "evaluate", "--checkpoint_path", folder / "best" / "best_model.pt", "--latent_test_dir", "latents/test"
    )
    assert evaluated.status == 0, evaluated.err
    ours = json.loads((tmp_path / "eval_results" / "evaluation_results.json").read_text())
    sealed = json.loads((folder / "evaluation" / "evaluation_results.json").read_text())
    assert ours["f1_macro"] == sealed["f1_macro"]
    assert ours["copies_of_training"] == sealed["copies_of_training"] == {"n": 0, "without_copies": None}
    written = {path.name for path in (tmp_path / "eval_results").iterdir()}
    assert written | {"simple_models.json"} == {path.name for path in (folder / "evaluation").iterdir()}
    assert written >= {
        "class_metrics.png",
        "prediction_confidence.png",
        "attention_sample_1.png",
        "predictions.parquet",
    }
    page = (folder / "report.html").read_text()
    assert f"Report       experiments/{folder.name}/report.html" in summary
    assert f"{sealed['f1_macro']:.3f}" in page
    assert page.count("data:image/jpeg;base64") > 3  # faces that it gets wrong
