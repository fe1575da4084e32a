"""`fervit.verify` on a sweep that has ended: any edit in one place is found, and numbers are named."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fervit
from fervit.errors import UserError
from fervit.evaluation import evaluate
from fervit.evaluation.intervals import OF_FACES
from fervit.labels.dealing import Fractions
from fervit.labels.emotions import EMOTIONS
from fervit.latents import LatentSet
from fervit.latents.exclusion import Exclusion
from fervit.latents.votes import Votes
from fervit.report.write import write_report
from fervit.search.outcome.confirm import OF_SEEDS
from fervit.search.outcome.fingerprints import files_of, renew_fingerprint, write_fingerprints
from fervit.search.records.sweep_folder import SweepFolder
from fervit.verification.comparison import Comparison, DifferenceError
from fervit.verification.files import check_files
from fervit.verification.retrain import _within_noise
from fervit.verification.sweep import open_sweep
from tests.conftest import Command, write_splits
from tests.helpers.whole_sweeps import whole_sweep

RESULTS = "evaluation/evaluation_results.json"


def difference(sweep: Path, **more: Any) -> str:
    return fervit.verify(sweep, say=None, **more).difference


def test_a_sweep_is_as_stated_and_trains_to_the_same_bits_again(ended: Path) -> None:
    said: list[str] = []
    found = fervit.verify(ended, retrain=True, say=said.append)
    assert not found.difference
    assert found.numbers > 1000
    assert "the weights have the same bits" in said[0]
    assert "rewritten the journal, the models and all that follows" in said[-1]


HOLD_NUMBERS = (".yaml", ".json", ".jsonl", ".csv", ".parquet", ".md", ".safetensors")
"""The suffixes of files of which numbers are computed again; of the others only the fingerprints are compared."""


def found_in_files(sweep: Path) -> bool:
    """Whether the comparison of the fingerprints alone finds a difference."""
    try:
        check_files(SweepFolder(sweep), Comparison())
    except DifferenceError:
        return True
    return False


@pytest.mark.parametrize("some_rows", ["dealt", "left out", "voted"])
def test_a_sweep_of_some_rows_of_its_latents_is_as_stated(
    some_rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "_draw_samples", lambda *args: None)  # the slowest of the pictures
    latents = write_splits(tmp_path / "latents")
    if some_rows == "dealt":
        shutil.rmtree(latents / "val")
        shutil.rmtree(latents / "test")
        of_splits: dict[str, Any] = {"fractions": Fractions(val=0.2, test=0.2, seed=3)}
    elif some_rows == "left out":
        listed = tmp_path / "listed.jsonl"
        listed.write_text('{"split": "train", "image_id": "00003"}\n{"split": "val", "image_id": "00005"}\n')
        of_splits = {"exclusion": Exclusion.read([str(listed)])}
    else:
        names = [name for split in ("train", "val", "test") for name in LatentSet.read(str(latents / split)).image_ids]
        rows = [f"{name},{','.join('9' if i == int(name) % 7 else '1' for i in range(7))}" for name in {*names}]
        (tmp_path / "votes.csv").write_text("\n".join([f"image_id,{','.join(EMOTIONS)}", *sorted(rows)]))
        of_splits = {"votes": (Votes.read(str(tmp_path / "votes.csv")), "majority")}
    sections = {"search": {"trials": 2}, "early_stopping": {"max_epochs": 2}, "confirm": {"top": 2, "seeds": 2}}
    whole_sweep(tmp_path / "sweep", latents, of_splits=of_splits, **sections)
    assert difference(tmp_path / "sweep") == ""
    in_json("environment.json", "data", "train", "sha256", to="abc")(tmp_path / "sweep")
    renew_fingerprint(SweepFolder(tmp_path / "sweep"), tmp_path / "sweep" / "environment.json")
    assert "fingerprint of the latents of train" in difference(tmp_path / "sweep")


def test_a_sweep_shows_what_it_buys_and_which_layers_it_needs(sweep: Path) -> None:
    card = (sweep / "best" / "README.md").read_text()
    assert "| test, linear probe on the same codes | " in card
    assert "the model's lead in macro-F1 is " in card
    assert (sweep / "evaluation" / "layers.csv").is_file()
    write_report(sweep)
    page = (sweep / "report.html").read_text()
    for text in ("What the Vision Transformer buys", "small MLP", "Which layers it needs", "coarse"):
        assert text in page
    for text in (OF_SEEDS, OF_FACES.format(split="test")):  # what the intervals hold and what not
        assert text in card
        assert text.replace("'", "&#39;") in page


@pytest.mark.long
def test_an_edit_of_any_file_is_found(sweep: Path) -> None:
    def found() -> bool:
        try:
            return bool(difference(sweep))
        except UserError:  # the path of the latents may be what was edited
            return True

    files = SweepFolder(sweep)
    for name in [*files_of(files), files.fingerprints.name]:
        content = (sweep / name).read_bytes()
        middle = len(content) // 2
        (sweep / name).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        assert found_in_files(sweep), name
        assert not name.endswith(HOLD_NUMBERS) or found(), name
        (sweep / name).write_bytes(content)
    assert not difference(sweep)


def test_a_file_that_is_missing_or_came_later_is_found(sweep: Path) -> None:
    for name in files_of(SweepFolder(sweep)):
        (sweep / name).rename(sweep / ".aside")
        assert found_in_files(sweep), name
        (sweep / ".aside").rename(sweep / name)
    for name in ("trials.jsonl", "leaderboard.csv", "best/best_model.pt", RESULTS, "sealed_test.json"):
        (sweep / name).rename(sweep / ".aside")
        assert difference(sweep), name
        (sweep / ".aside").rename(sweep / name)
    (sweep / "evaluation" / "more.json").write_text("{}")
    assert "evaluation/more.json came later" in difference(sweep)


def test_the_words_of_another_version_are_no_difference(sweep: Path) -> None:
    card, fingerprints = sweep / "best" / "README.md", SweepFolder(sweep).fingerprints
    card.write_text(card.read_text().replace("LatentViT", "latent ViT"))
    renew_fingerprint(SweepFolder(sweep), card)
    assert "README.md lacks the line" in fervit.verify(sweep, say=None).difference
    fingerprints.write_text(fingerprints.read_text().replace(fervit.__version__, "0.1.9"))
    lines: list[str] = []
    assert not fervit.verify(sweep, say=lines.append).difference
    assert any("in the words of fervit 0.1.9" in line for line in lines)


def test_what_ray_and_slurm_write_after_the_end_changes_nothing(sweep: Path) -> None:
    for name in ("ray.log", "slurm/out.log", "trials/searcher.json", ".lock"):
        (sweep / name).parent.mkdir(exist_ok=True)
        (sweep / name).write_text("later")
    assert not difference(sweep)


def in_json(path: str, *keys: Any, to: Any = 0.123) -> Callable[[Path], None]:
    """Makes an edit of one value of a JSON file."""

    def edit(sweep: Path) -> None:
        content = found = json.loads((sweep / path).read_text())
        for key in keys[:-1]:
            found = found[key]
        assert found[keys[-1]] != to
        found[keys[-1]] = to
        (sweep / path).write_text(json.dumps(content))

    return edit


def in_leaderboard(column: str, to: str = "0.123456") -> Callable[[Path], None]:
    """Makes an edit of one column of the first row."""

    def edit(sweep: Path) -> None:
        path = sweep / "leaderboard.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        rows[0][column] = to
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    return edit


def in_journal(event: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Makes an edit of the last event of a kind."""

    def edit(sweep: Path) -> None:
        rows = [json.loads(line) for line in (sweep / "trials.jsonl").read_text().splitlines()]
        change(next(row for row in reversed(rows) if row["event"] == event))
        (sweep / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    return edit


def in_card(sweep: Path) -> None:
    path = sweep / "best" / "README.md"
    path.write_text(path.read_text().replace("| validation | 0.", "| validation | 0.9"))


def another_model(sweep: Path) -> None:
    other = next(path for path in (sweep / "checkpoints").glob("*/best_model.pt") if _is_other(sweep, path))
    shutil.copy(other, sweep / "best" / "best_model.pt")


def _is_other(sweep: Path, path: Path) -> bool:
    return path.read_bytes() != (sweep / "best" / "best_model.pt").read_bytes()


@pytest.mark.parametrize(
    ("edit", "names"),
    [
        (in_journal("epoch", lambda row: row["row"].update(f1_macro=0.99)), "best f1_macro so far"),
        (in_journal("epoch", lambda row: row.update(best_value=0.99)), "best f1_macro so far"),
        (in_journal("chosen", lambda row: row.update(ties=[])), "ties"),
        (in_journal("chosen", lambda row: row.update(epoch=row["epoch"] % 3 + 1)), "epoch of the chosen model"),
        (in_leaderboard("f1_macro"), "row 1"),
        (in_leaderboard("confirmed_mean"), "confirmed_mean"),
        (in_leaderboard("seconds"), "seconds"),
        (another_model, "best/"),
        (in_json("best/config.json", "metrics", "accuracy"), "best/config.json: metrics.accuracy"),
        (in_json("environment.json", "data", "val", "sha256", to="abc"), "fingerprint of the latents of val"),
        (in_json("environment.json", "data", "test", "sha256", to="abc"), "fingerprint of the latents of test"),
        (in_json(RESULTS, "f1_macro"), "evaluation_results.json: f1_macro"),
        (in_json(RESULTS, "intervals_95", "f1_macro", 1), "intervals_95.f1_macro[1]"),
        (in_json(RESULTS, "confusion_matrix", 0, 0, to=0), "confusion_matrix"),
        (in_json(RESULTS, "classification_report", "happy", "recall"), "classification_report.happy.recall"),
        (in_json(RESULTS, "layers", "without", "coarse", "drop"), "layers.without.coarse.drop"),
        (in_json("evaluation/simple_models.json", "models", 0, "ahead"), "simple_models.json: linear probe.ahead"),
        (in_json("sealed_test.json", "looks", 0, "f1_macro"), "sealed_test.json, look 1: f1_macro"),
        (in_json("sealed_test.json", "looks", 0, "seeds", 0, "accuracy"), "accuracy"),
        (in_card, "best/README.md"),
    ],
)
def test_a_number_is_named_even_if_its_file_has_a_new_fingerprint(
    edit: Callable[[Path], None], names: str, sweep: Path
) -> None:
    edit(sweep)
    write_fingerprints(SweepFolder(sweep))
    assert names in difference(sweep)


@pytest.mark.long
def test_a_report_that_is_written_again_is_as_stated_and_an_edited_page_is_not(sweep: Path) -> None:
    write_report(sweep, no_faces=True)
    assert not difference(sweep)
    page = sweep / "report.html"
    page.write_text(page.read_text().replace("macro-F1", "macro-F2", 1))
    assert difference(sweep).startswith("report.html: SHA-256 is")
    write_fingerprints(SweepFolder(sweep))  # whoever rewrites the fingerprints as well is not found, as the output says
    assert not difference(sweep)


def test_latents_that_have_moved_are_named_by_a_flag(command: Command, ended: Path, tmp_path: Path) -> None:
    moved, sweep = tmp_path / "moved", shutil.copytree(ended, tmp_path / "sweep")
    shutil.copytree(ended.parent / "latents", moved)
    in_json("environment.json", "data", "train", "path", to=str(tmp_path / "gone" / "train"))(sweep)
    write_fingerprints(SweepFolder(sweep))
    gone = command("verify", sweep)
    assert gone.status == 2
    assert "its latents are no longer in" in gone.err
    assert "--latents" in gone.err
    assert command("verify", sweep, "--latents", moved).status == 0
    assert command("verify", sweep, "--latents", tmp_path).status == 2
    shutil.rmtree(moved / "test")
    others = command("verify", sweep, "--latents", write_splits(tmp_path / "others") and moved)
    assert others.status == 1
    assert "fingerprint of the latents of test" in others.out


def test_what_cannot_be_verified_is_told_in_one_line(sweep: Path, tmp_path: Path, shared_old: Path) -> None:
    with pytest.raises(UserError, match="give the folder of a sweep"):
        fervit.verify(tmp_path / "latents")
    with pytest.raises(UserError, match=r"has no fingerprints\.json, so an earlier version has ended it"):
        fervit.verify(shared_old)
    journal = sweep / "trials.jsonl"
    journal.write_text("".join(line + "\n" for line in journal.read_text().splitlines() if '"done"' not in line))
    with pytest.raises(UserError, match="has not ended"):
        fervit.verify(sweep)


@pytest.fixture
def shared_old() -> Path:
    return Path(__file__).parent.parent / "data" / "version_0_1" / "finished"


@pytest.mark.long
def test_on_another_machine_the_retrained_run_lies_within_the_noise(sweep: Path) -> None:
    in_json("environment.json", "processor", to="another")(sweep)
    write_fingerprints(SweepFolder(sweep))
    said: list[str] = []
    assert not fervit.verify(sweep, retrain=True, say=said.append).difference
    assert "within the noise of the 2 fresh seeds" in said[0]
    with pytest.raises(DifferenceError, match="outside the noise"):
        _within_noise(open_sweep(sweep), -1.0, Comparison())
