"""What a model loses without layers of the codes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import fervit
from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.evaluation.paired import layers
from fervit.evaluation.paired.layers import draw, groups_of, layer_drops, mean_of, some_rows, strongest, write_table
from fervit.latents import LatentSet
from tests.conftest import CONFIG, ENCODER, trained, write_splits

RNG = np.random.default_rng(0)
N = 210


def rows(layer_of: dict[int, int]) -> LatentSet:
    """Rows of seven classes, each of which is told by one layer alone: that of `layer_of`."""
    labels = np.arange(N) % 7
    codes = RNG.normal(0, 0.1, (N, 18, 8))
    for label, layer in layer_of.items():
        codes[labels == label, layer, label] += 5
    ids = [str(i) for i in range(N)]
    return LatentSet(
        path="memory", codes=codes.astype(np.float16), labels=labels, image_ids=ids, sha256=ids, encoder=ENCODER
    )


def by_the_sum(codes: np.ndarray) -> np.ndarray:
    """A model that looks for each class in all layers."""
    return np.asarray(codes.astype(np.float32).sum(axis=1)[:, :7])


def test_the_layer_that_tells_a_class_carries_it_and_others_drop_nothing() -> None:
    latents = rows({0: 2, 1: 5, 2: 5, 3: 5, 4: 5, 5: 12, 6: 12})
    drops = layer_drops(by_the_sum, latents, np.zeros((18, 8)), 100)
    assert drops["f1_macro"] == 1.0
    without = drops["without"]
    assert list(without) == ["coarse", "middle", "fine", *map(str, range(18))]
    assert without["fine"]["layers"] == list(range(8, 18))
    assert {emotion: text.split()[0] for emotion, text in strongest(drops).items()} == {
        "angry": "coarse",
        **dict.fromkeys(("disgust", "fear", "happy", "neutral"), "middle"),
        **dict.fromkeys(("sad", "surprise"), "fine"),
    }
    assert without["middle"]["drop"] > without["fine"]["drop"] > without["coarse"]["drop"] > 0.05
    assert abs(without["5"]["drop"] - without["middle"]["drop"]) < 0.05  # the rest of the middle is noise
    low, high = without["coarse"]["interval_95"]
    assert 0 < low < without["coarse"]["drop"] < high
    for layer in (0, 7, 17):
        one = without[str(layer)]
        assert one["drop"] == 0
        assert one["interval_95"][0] < 0 < one["interval_95"][1]  # few rows prove nothing
        assert one["classes"]["happy"]["drop"] == 0


def test_a_large_model_is_measured_on_some_faces_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [10, 500, 1000])
    kept = some_rows(labels, 150)
    assert np.bincount(labels[kept]).tolist() == [10, 50, 99]
    assert len(some_rows(labels, 5000)) == len(labels)
    latents = rows(dict.fromkeys(range(7), 3))
    most = int(layers.WORK / (2 * 19 * 22 * 70))
    assert layer_drops(by_the_sum, latents, np.zeros((18, 8)), most)["n"] < N


def test_groups_of_shorter_codes_and_the_mean_in_parts() -> None:
    assert list(groups_of(4)) == ["coarse", "0", "1", "2", "3"]
    assert groups_of(14)["fine"] == [8, 9, 10, 11, 12, 13]
    codes = RNG.normal(1.0, 1.0, (5000, 2, 3)).astype(np.float16)
    np.testing.assert_allclose(mean_of(codes), codes.astype(np.float64).mean(axis=0), atol=1e-5)


def test_the_table_and_the_picture_show_all_of_it(tmp_path: Path) -> None:
    latents = rows({label: 2 * label for label in range(7)})
    drops = layer_drops(by_the_sum, latents, np.zeros((18, 8)), 100)
    write_table(drops, latents.label_set.classes, tmp_path / "layers.csv")
    with (tmp_path / "layers.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["layers"] for row in table[:4]] == ["coarse", "middle", "fine", "0"]
    assert float(table[3]["angry"]) == drops["without"]["0"]["classes"]["angry"]["drop"] > 0.3
    assert float(table[3]["angry_low"]) < float(table[3]["angry"]) < float(table[3]["angry_high"])
    draw(drops, latents.label_set.classes, "a $title", tmp_path / "layers.png")
    assert (tmp_path / "layers.png").stat().st_size > 10_000


def test_an_evaluation_measures_it_where_the_training_codes_are_at_hand(tmp_path: Path) -> None:
    model, folder = trained(CONFIG), write_splits(tmp_path / "latents")
    save_checkpoint(model, tmp_path / "model.pt")
    said: list[str] = []
    given = {"output_dir": tmp_path / "out", "visualize_samples": 0, "say": said.append}
    found = fervit.evaluate(tmp_path / "model.pt", folder / "test", latent_train_dir=folder / "train", **given)
    drops = found.metrics["layers"]
    assert drops is not None
    assert drops["n"] == found.metrics["n"]
    assert any(line.startswith("drop of macro-F1 without layers: coarse ") for line in said)
    assert {"layers.csv", "layers.png"} <= {path.name for path in found.output_dir.iterdir()}
    # The codes beside the test split are of another training, so nothing is known of the mean.
    assert fervit.evaluate(tmp_path / "model.pt", folder / "test", **given).metrics["layers"] is None
    assert not (found.output_dir / "layers.csv").exists()


def test_no_group_carries_a_class_that_the_model_never_finds() -> None:
    nothing = {"drop": 0.0, "interval_95": (0.0, 0.0)}
    some = {"drop": 0.2, "interval_95": (0.1, 0.3)}
    without = {name: {**some, "classes": {"happy": some, "sad": nothing}} for name in ("coarse", "middle", "fine")}
    assert set(strongest({"without": without})) == {"happy"}  # type: ignore[typeddict-item]
