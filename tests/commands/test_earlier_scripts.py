"""Runs of earlier LatentViT scripts compare and report beside new ones, and the guide's names find what they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from benchmarks.train import GuideViT
from fervit.checkpoints.checkpoint import load_checkpoint
from fervit.evaluation.comparison.compare import read_contender, runs_in
from fervit.evaluation.evaluate import evaluate
from fervit.report.results import read_results
from fervit.training.config import TrainConfig
from tests.conftest import CONFIG, Command, latent_set, trained, write_latents


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """A run as the earlier scripts leave it: <name>/<time>/ with a checkpoint and TensorBoard's logs."""
    folder = tmp_path / "old" / "latent_vit_d1_h4" / "20250102_030405"
    (folder / "checkpoints").mkdir(parents=True)
    model = GuideViT(TrainConfig(embed_dim=32, depth=1, heads=4, mlp_dim=32))
    content = {
        "epoch": 2,
        "model_state_dict": model.state_dict(),
        "metrics": {"accuracy": 0.4, "f1_macro": 0.35},
        "config": {"model": {"heads": 4}},
    }
    torch.save(content, folder / "checkpoints" / "best_model.pt")
    (folder / "config.json").write_text(json.dumps({"model": {"heads": 4}, "lr": 1e-4}))
    with SummaryWriter(str(folder / "logs")) as writer:
        for step, score in enumerate((0.30, 0.35, 0.33)):
            writer.add_scalar("Loss/Train", 1.9 - score, step)
            writer.add_scalar("Validation/f1_macro", score, step)
            writer.add_scalar("Validation/accuracy", score + 0.05, step)
            writer.add_scalar("Learning_Rate", 1e-4, step)
    return folder


def test_an_old_run_has_a_report_with_its_curves(old_run: Path, command: Command) -> None:
    results = read_results(old_run)
    assert [row.f1_macro for row in results.records[0].epochs] == pytest.approx([0.30, 0.35, 0.33])
    assert [row.epoch for row in results.records[0].epochs] == [1, 2, 3]
    ended = command("report", old_run)
    assert ended.status == 0, ended.err
    assert "A run of an earlier LatentViT script" in (old_run / "report.html").read_text(encoding="utf-8")


def test_old_runs_are_found_below_their_names_and_called_by_them(old_run: Path, command: Command) -> None:
    (found,) = runs_in(old_run.parent)
    contender = read_contender(found)
    assert contender.name == "latent_vit_d1_h4/20250102_030405"
    assert contender.validation["f1_macro"] == 0.35
    (old_run / "eval_results").mkdir()
    results = {"accuracy": 0.5, "f1_macro": 0.45, "test_dataset_size": 7178}
    (old_run / "eval_results" / "evaluation_results.json").write_text(json.dumps(results))
    ended = command("compare", old_run.parent, "--format", "json")
    assert ended.status == 0, ended.err
    (row,) = json.loads(ended.out)
    assert (row["name"], row["accuracy"], row["n"]) == ("latent_vit_d1_h4/20250102_030405", 0.5, 7178)
    assert row["standing"] == "other rows"


def old_results(**more: object) -> str:
    """An evaluation_results.json as the earlier scripts write it."""
    of_class = {"precision": 0.5, "recall": 0.25, "f1-score": 0.333, "support": 40.0}
    report = {"angry": of_class, "happy": of_class, "accuracy": 0.5, "macro avg": of_class}
    content = {"accuracy": 0.5548, "f1_macro": 0.5475, "f1_weighted": 0.55, "test_dataset_size": 7178}
    return json.dumps({**content, "classification_report": report, "confusion_matrix": [[30, 10], [20, 20]], **more})


@pytest.mark.parametrize("nested", [False, True])
def test_an_old_evaluation_has_a_report(nested: bool, command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "eval_results"
    folder.mkdir()
    text = json.dumps({"metrics": json.loads(old_results())}) if nested else old_results()
    (folder / "evaluation_results.json").write_text(text)
    ended = command("report", folder)
    assert ended.status == 0, ended.err
    page = (folder / "report.html").read_text(encoding="utf-8")
    for words in ("0.547", "0.555", "7178", "by an earlier script", "0.333", "says less than those of today"):
        assert words in page
    (folder / "evaluation_results.json").write_text('{"loss": 1}')
    ended = command("report", folder)
    assert ended.status == 2
    assert "holds neither accuracy and f1_macro nor" in ended.err


def test_an_old_run_has_a_report_with_its_old_evaluation(old_run: Path, command: Command) -> None:
    (old_run / "eval_results").mkdir()
    (old_run / "eval_results/evaluation_results.json").write_text(old_results())
    assert command("report", old_run).status == 0
    page = (old_run / "report.html").read_text(encoding="utf-8")
    assert "0.547" in page
    assert "A run of an earlier LatentViT script" in page
    assert "Whether it is of this model is not known" in page


def test_an_old_run_that_does_not_name_its_heads_compares_and_reports(
    old_run: Path, command: Command, tmp_path: Path
) -> None:
    file = old_run / "checkpoints/best_model.pt"
    content = torch.load(file, weights_only=True)
    del content["config"]
    torch.save(content, file)
    picture = ("--picture", tmp_path / "comparison.png")
    for words in (("report", old_run), ("compare", old_run, *picture)):
        ended = command(*words)
        assert ended.status == 2
        assert "--heads N" in ended.err
        ended = command(*words, "--heads", 4)
        assert ended.status == 0, ended.err


def test_an_evaluation_has_the_keys_and_the_files_of_the_guide(tmp_path: Path) -> None:
    checkpoint = trained(CONFIG)
    evaluate(checkpoint, latent_set(3), tmp_path, samples=2, checkpoint_path="runs/best_model.pt")
    results = json.loads((tmp_path / "evaluation_results.json").read_text())
    assert (results["test_dataset_size"], results["checkpoint_path"]) == (21, "runs/best_model.pt")
    assert results["model_config"]["num_classes"] == 7
    assert {path.name for path in tmp_path.glob("attention_sample_*")} == {
        "attention_sample_0.png",
        "attention_sample_1.png",
    }


def test_a_picture_that_cannot_be_drawn_takes_nothing_from_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr("fervit.evaluation.figures.draw_confidence", fails)
    monkeypatch.setattr("fervit.evaluation.evaluate.draw_confusion_matrix", fails)
    found = evaluate(trained(CONFIG), latent_set(3), tmp_path, samples=1)
    assert json.loads((tmp_path / "evaluation_results.json").read_text())["n"] == 21
    assert (tmp_path / "class_metrics.png").is_file()
    assert [remark.partition(" ")[0] for remark in found.remarks] == [
        "confusion_matrix.png",
        "prediction_confidence.png",
    ]


def test_flags_of_the_guide_are_taken_or_say_what_replaces_them(command: Command, latents_folder: Path) -> None:
    for flags, message in (
        (("--num_classes", 8), "--num_classes 8: the latents have the 7 emotions"),
        (("--use_augmentation",), "fervit augments codes by --latent_noise"),
    ):
        ended = command(
            *("train", "--latent_train_dir", latents_folder / "train", "--latent_val_dir", latents_folder / "val"),
            *("--latent_dim", 16, "--seq_len", 0, *flags),
        )
        assert ended.status == 2
        assert message in ended.err
        assert ended.err.count("\n") == 1


def test_a_run_under_the_guides_flags_lies_where_its_snippets_look(command: Command, latents_folder: Path) -> None:
    words = ["--latent_train_dir", latents_folder / "train", "--latent_val_dir", latents_folder / "val"]
    words += ["--num_classes", 7, "--checkpoint_dir", "checkpoints", "--experiment_name", "smoke_ep2"]
    small = {"embed_dim": 16, "depth": 1, "heads": 2, "mlp_dim": 16, "batch_size": 32, "epochs": 2}
    words += [word for name, value in small.items() for word in (f"--{name}", value)]
    ended = command("train", *words, "--seq_len", 0, "--latent_dim", 16)
    assert ended.status == 0, ended.err
    (model,) = Path("checkpoints").glob("*_ep2/*/checkpoints/best_model.pt")
    (summary,) = Path("checkpoints").glob("*/*/experiment_summary.json")
    content = json.loads(summary.read_text())
    assert content["experiment_name"]
    for name in ("accuracy", "f1_macro"):  # as the guide's comparison reads them
        assert content["final_metrics"][name] == load_checkpoint(model).metrics[name]


def test_a_folder_of_old_files_is_known_wherever_it_is_given(command: Command, tmp_path: Path) -> None:
    old = tmp_path / "old_latents"
    old.mkdir()
    torch.save({"latent": torch.zeros(18, 512), "label": 3}, old / "happy_1.pt")
    ended = command("train", "--latent_train_dir", old, "--latent_val_dir", old)
    assert ended.status == 2
    assert "import them with `python launch/encode.py --from_pt" in ended.err
    write_latents(tmp_path / "latents" / "train", latent_set(3))
    write_latents(tmp_path / "latents" / "test", latent_set(3))
    ended = command("train", "--latent_train_dir", "latents/train", "--latent_val_dir", "latents/val")
    assert "beside it are train and test only" in ended.err
    ended = command("train", "--latent_train_dir", "latents", "--latent_val_dir", "latents/val")
    assert "give latents/train" in ended.err
