"""Metrics by groups of faces, and whether their difference is more than chance."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.errors import UserError
from fervit.evaluation.groups import by_group, groups_in_words, read_groups
from fervit.labels.label_set import SEVEN
from fervit.latents import LatentSet
from fervit.latents.looks import looks_at
from tests.conftest import CONFIG, Command, trained

IDS = [f"{i}" for i in range(400)]


def test_a_difference_is_told_from_chance() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 400)
    predicted = np.where(rng.random(400) < np.where(np.arange(400) < 200, 0.9, 0.6), labels, (labels + 1) % 7)
    age = {name: "old" if i < 200 else "young" for i, name in enumerate(IDS)}
    camera = {name: "ab"[i % 2] for i, name in enumerate(IDS[:380])}
    by_age, by_camera = by_group({"age": age, "camera": camera}, IDS, labels, predicted, SEVEN.classes)
    assert [one["group"] for one in by_age["groups"]] == ["old", "young"]
    assert by_age["groups"][0]["accuracy"] == pytest.approx((labels == predicted)[:200].mean())
    low, high = by_age["groups"][0]["intervals_95"]["accuracy"]
    assert low < by_age["groups"][0]["accuracy"] < high
    assert by_age["p_corrected"] is not None
    assert by_age["p_corrected"] < 0.001
    assert by_camera["p"] is not None
    assert by_camera["p_corrected"] == by_camera["p"] > 0.01  # Holm leaves the largest as it is
    assert by_camera["unknown"] == 20
    assert "p < 0.001 (corrected)" in groups_in_words([by_age])[0]


def test_p_values_are_even_where_groups_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 7, 400)
    values = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        predicted = np.where(draw.random(400) < 0.7, labels, (labels + 1) % 7)
        groups = {name: "abc"[i] for name, i in zip(IDS, draw.integers(0, 3, 400), strict=True)}
        p = by_group({"g": groups}, IDS, labels, predicted, SEVEN.classes)[0]["p"]
        assert p is not None
        values.append(p)
    assert 0.35 < np.mean(values) < 0.65
    assert np.mean(np.array(values) < 0.05) < 0.15


def test_faces_that_were_cut_out_have_the_group_of_their_picture() -> None:
    cameras = {"train/happy/a.jpg": "one", "train/happy/b.jpg": "two", "other/c.jpg": "three"}
    ids = ["train/happy/train/happy/a.png", "train/happy/b.png", "train/happy/c.png"]
    (found,) = by_group({"camera": cameras}, ids, np.zeros(3, int), np.zeros(3, int), SEVEN.classes)
    assert [one["group"] for one in found["groups"]] == ["one", "two"]
    assert found["unknown"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image_id\na\n", "needs a column image_id, one or more"),
        ("name,age\na,3\n", "needs a column image_id"),
        ("image_id,age\n" + "".join(f"{i},{i}\n" for i in range(60)), "column age has 60 values"),
    ],
)
def test_files_without_groups_are_told(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        read_groups(str(tmp_path / "groups.csv"))


def test_an_evaluation_and_its_report_show_groups(latents_folder: Path, tmp_path: Path, command: Command) -> None:
    save_checkpoint(trained(replace(CONFIG, epochs=1)), tmp_path / "best_model.pt")
    ids = LatentSet.read(str(latents_folder / "test")).image_ids
    rows = [f"{name},{'<dark>' if i % 3 else 'light'}" for i, name in enumerate(ids)]
    (tmp_path / "groups.csv").write_text("\n".join(["image_id,skin type", *rows]) + "\n")
    given = ("--checkpoint_path", tmp_path / "best_model.pt", "--latent_test_dir", latents_folder / "test")
    more = ("--groups", tmp_path / "groups.csv", "--visualize_samples", 0, "--output_dir", tmp_path / "results")
    ended = command("evaluate", *given, *more)
    assert ended.status == 0, ended.err
    assert "by skin type: same accuracy: p" in ended.out
    (column,) = json.loads((tmp_path / "results/groups.json").read_text())["columns"]
    assert sum(one["n"] for one in column["groups"]) == len(ids)
    assert command("report", tmp_path / "results").status == 0
    page = (tmp_path / "results/report.html").read_text()
    assert "By skin type" in page
    assert "&lt;dark&gt;" in page
    ended = command("export", *given[:2], "--output_dir", tmp_path / "out", "--evaluation", tmp_path / "results")
    assert ended.status == 0, ended.err
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"## By group\n\nOn {len(ids)} faces of test" in card
    assert "By skin type; the same accuracy in all: p" in card
    assert "| &lt;dark&gt; |" in card
    assert f"| light | {column['groups'][1]['n']} | {column['groups'][1]['accuracy']:.3f} (" in card
    assert card.index("## By group") < card.index("## Made from") < card.index("## Intended use")
    save_checkpoint(trained(replace(CONFIG, epochs=1, seed=9)), tmp_path / "other.pt")
    for checkpoint, folder, message in (
        ("other.pt", "results", "is the evaluation of another model"),
        ("best_model.pt", "out", "holds no evaluation_results.json with groups.json"),
    ):
        ended = command("export", "--checkpoint_path", checkpoint, "--output_dir", "new", "--evaluation", folder)
        assert (ended.status, message in ended.err) == (2, True), ended.err
        assert not (tmp_path / "new").exists()


def test_groups_of_another_label_set_have_its_classes() -> None:
    labels = np.arange(80) % 8
    (column,) = by_group({"g": dict.fromkeys(IDS[:80], "all")}, IDS[:80], labels, labels, [*SEVEN.classes, "contempt"])
    assert [one["f1_macro"] for one in column["groups"]] == [1.0]


def test_groups_that_do_not_fit_cost_no_look_and_change_no_results(
    latents_folder: Path, tmp_path: Path, command: Command
) -> None:
    save_checkpoint(trained(replace(CONFIG, epochs=1)), tmp_path / "best_model.pt")
    (tmp_path / "groups.csv").write_text("image_id,age\nsomebody.png,old\n")
    test = latents_folder / "test"
    given = ("--checkpoint_path", tmp_path / "best_model.pt", "--latent_test_dir", test, "--visualize_samples", 0)
    ended = command("evaluate", *given, "--groups", tmp_path / "groups.csv", "--output_dir", tmp_path / "results")
    assert ended.status == 2
    assert "no image_id of it, such as somebody.png, is in the split" in ended.err
    assert looks_at(str(test)) == []
    assert not (tmp_path / "results").exists()
