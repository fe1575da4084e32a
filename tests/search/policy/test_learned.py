"""What a sweep takes from earlier ones: where it begins, what it names first, and the curves that it learns from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.errors import UserError
from fervit.latents import LatentSet
from fervit.search.ledger import Ledger
from fervit.search.policy.learned import (
    ALIKE,
    OTHER_CODES,
    OTHER_FACES,
    EarlierCurve,
    Learned,
    Source,
    learn,
    with_learned,
)
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import SearchSource
from fervit.search.policy.stopping import NeverStops
from fervit.search.policy.thaw import Thaw
from fervit.search.records.journal import JournalInMemory
from fervit.search.records.record import TrialRecord
from fervit.search.simulated import VirtualClock, run_simulated
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from tests.conftest import Command, write_splits
from tests.helpers.whole_sweeps import whole_sweep
from tests.search.policy.test_thaw import height, rising
from tests.search.policy.test_thaw import space_of as thawed


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_splits(tmp_path_factory.mktemp("latents") / "latents")


@pytest.fixture(scope="module")
def earlier(latents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of 9 trials whose best two were confirmed."""
    folder = tmp_path_factory.mktemp("earlier") / "sweep"
    whole_sweep(folder, latents, search={"trials": 9}, confirm={"top": 2, "seeds": 2})
    return folder


@pytest.fixture(scope="module")
def train(latents: Path) -> LatentSet:
    return LatentSet.read(str(latents / "train"))


def like(folder: Path, **changes: Any) -> SearchSpace:
    """The space of the earlier sweep, which learns from it, with other sections."""
    raw = yaml.safe_load((folder / "sweep.yaml").read_text())
    raw["search"] |= {"learn_from": [str(folder)]}
    for section, values in changes.items():
        raw[section] = {**raw.get(section, {}), **values}
    return parse_space(raw, "space")


def test_it_begins_with_what_was_chosen_or_tied_and_names_first_what_mattered(earlier: Path, train: LatentSet) -> None:
    space = like(earlier)
    learned = learn(space, train)
    assert learned is not None
    (source,) = learned.sources
    assert (source.curves, source.left_out, source.differs, source.likeness) == (9, 0, (), ALIKE)
    choice = [json.loads(line) for line in (earlier / "trials.jsonl").read_text().splitlines()]
    (chosen,) = [event for event in choice if event["event"] == "chosen"]
    starts = {event["number"]: event["params"] for event in choice if event["event"] == "start"}
    assert starts[chosen["number"]] in learned.starts
    assert len(learned.starts) == len({chosen["number"], *chosen["ties"]})
    new = with_learned(space, learned)
    assert new.search.warm_start == [*space.search.warm_start, *learned.starts]
    assert list(new.parameters) == sorted(learned.importance, key=lambda name: -learned.importance[name])
    assert dict(new.parameters) == dict(space.parameters)
    assert any("what mattered there" in line for line in learned.in_words())


def test_what_differs_is_taken_with_care_and_said(earlier: Path, train: LatentSet) -> None:
    same = like(earlier)

    def learnt(space: SearchSpace, codes: LatentSet) -> tuple[Source, Learned]:
        learned = learn(space, codes)
        assert learned is not None
        return learned.sources[0], learned

    faces, learned = learnt(same, train.take(np.arange(60)))
    assert (faces.differs, faces.likeness) == (("other faces",), OTHER_FACES)
    assert len(learned.curves) == faces.curves == 9
    encoder = EncoderFingerprint(encoder="other", checkpoint_sha256="", seq_len=4, latent_dim=16)
    codes, learned = learnt(same, replace(train, encoder=encoder))
    assert "another encoder" in codes.differs
    assert codes.likeness == OTHER_CODES
    assert learned.curves == ()  # which would lead astray
    assert learned.starts
    assert any("no curves, with care: " in line for line in learned.in_words())
    fixed, _ = learnt(like(earlier, fixed={"batch_size": 7}, early_stopping={"max_epochs": 30}), train)
    assert "batch_size" in fixed.differs
    assert any("epochs" in text for text in fixed.differs)
    assert fixed.likeness == OTHER_FACES


def test_what_the_space_does_not_have_is_left_out_and_said(earlier: Path, train: LatentSet) -> None:
    learned = learn(like(earlier, fixed={"dropout": 0.1}, parameters={"lr": {"values": [123.0]}}), train)
    assert learned is not None
    assert learned.sources[0].curves == 0
    assert learned.sources[0].left_out == 9
    assert learned.starts == ()
    assert any("nothing is learnt" in line for line in learned.in_words())


def test_a_resumed_sweep_reads_what_it_began_with(earlier: Path, train: LatentSet, tmp_path: Path) -> None:
    learned = learn(like(earlier), train)
    assert learned is not None
    learned.write(tmp_path / "learned.json")
    assert Learned.read(tmp_path / "learned.json") == learned
    assert Learned.read(tmp_path / "none.json") is None
    (tmp_path / "learned.json").write_text("{")
    with pytest.raises(UserError, match=r"learned\.json: is damaged"):
        Learned.read(tmp_path / "learned.json")


def test_a_folder_that_holds_no_sweep_or_a_damaged_one_is_a_line(
    earlier: Path, latents: Path, tmp_path: Path, command: Command
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(earlier, broken)
    (broken / "environment.json").write_text("{")
    space = tmp_path / "space.yaml"
    shutil.copy(earlier / "sweep.yaml", space)
    for folder, message in ((tmp_path / "no", "holds no sweep.yaml"), (broken, "environment.json: is damaged")):
        ended = command("tune", "--space", space, "--latents", latents, "--set", f"search.learn_from=[{folder}]")
        assert ended.status == 2
        assert message in ended.err
        assert ended.err.count("\n") == 1
        assert not list(tmp_path.glob("experiments/*"))


def run(space: SearchSpace, learned: Learned | None) -> list[TrialRecord]:
    clock = VirtualClock()
    ledger = Ledger(space, JournalInMemory(clock), NeverStops(), pausing=Thaw(space, learned), clock=clock)
    ledger.use(SearchSource(space, SpaceSampler(space)))
    run_simulated(ledger, rising, clock, slots=2)
    return ledger.records


def curves_of(records: Sequence[TrialRecord], shift: float) -> Learned:
    """The curves of a sweep as an earlier one, whose values were all higher."""
    source = Source(folder="earlier", likeness=ALIKE, differs=(), curves=len(records), left_out=0)
    curves = []
    for record in records:
        best: list[float] = []
        for row in record.epochs:
            best.append(max([row.f1_macro + shift, *best[-1:]]))
        if best:
            curves.append(EarlierCurve(source=0, params=record.params, values=tuple(best)))
    return Learned(sources=(source,), starts=(), importance={}, curves=tuple(curves))


def test_curves_of_an_earlier_sweep_save_epochs_and_keep_the_choice() -> None:
    epochs_alone = epochs_with = 0
    for seed in range(2):
        before = run(thawed(seed=100 + seed), None)
        space = thawed(seed=seed)
        alone, helped = run(space, None), run(space, curves_of(before, shift=0.1))
        epochs_alone += sum(len(record.epochs) for record in alone)
        epochs_with += sum(len(record.epochs) for record in helped)
        finished = [record for record in helped if record.state == "finished"]
        best = max(finished, key=lambda record: record.epochs[-1].f1_macro)
        assert best in sorted(helped, key=lambda record: -height(record.params))[:4]
    assert epochs_with < 0.85 * epochs_alone
