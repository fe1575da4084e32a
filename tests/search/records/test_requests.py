"""What users ask of a sweep while it runs, with a driver that trains nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import fervit
from fervit.errors import UserError
from fervit.search.driver import Driver, Room
from fervit.search.outcome.leaderboard import leaderboard_text
from fervit.search.records.requests import received
from fervit.search.simulated import VirtualClock
from fervit.search.space.settings import TrialResources
from fervit.training.failure import Failure
from tests.helpers.ledger import Sweep, report


class Steered:
    """A sweep with places for three trials, and its driver."""

    def __init__(self, folder: Path, **changes: object) -> None:
        (folder / "sweep.yaml").unlink(missing_ok=True)
        self.sweep, self.clock = Sweep(folder, **changes), VirtualClock()
        self.folder = folder
        self.ledger = self.sweep.ledger
        self.driver = Driver(
            self.ledger, Room(lambda: (3, 3), clock=self.clock), TrialResources(), self.sweep.folder, clock=self.clock
        )
        self.sweep.folder.write_space(self.sweep.space)

    def ask(self, action: str, *what: str | int) -> str:
        text = fervit.control(self.folder, action, *what, say=None)
        self.clock.now += 1.0
        return text

    def begin(self) -> str:
        planned = self.driver.next()
        assert planned is not None
        self.driver.placed(planned.name)
        return planned.name


def test_a_trial_is_stopped_after_its_epoch_and_says_so_everywhere(tmp_path: Path) -> None:
    one = Steered(tmp_path)
    name, other = one.begin(), one.begin()
    assert not one.driver.reported(name, report(1, 0.5))
    assert "asked: stop trial_0000" in one.ask("stop", 0)
    assert one.driver.reported(name, report(2, 0.6))
    assert not one.driver.reported(other, report(1, 0.9))
    assert one.sweep.states() == {name: "stopped", other: "running"}
    assert received(one.sweep.folder) == []
    assert "stopped at epoch 2: by hand" in one.ask("why", name)
    assert "stopped at epoch 2: by hand" in leaderboard_text(one.ledger.records, one.sweep.space)
    assert "you asked: stop trial_0000" in one.sweep.lines
    with pytest.raises(UserError, match="has ended"):
        one.ask("stop", name)


def test_what_was_asked_is_carried_out_once_also_after_a_kill(tmp_path: Path) -> None:
    one = Steered(tmp_path)
    name = one.begin()
    assert not one.driver.reported(name, report(1, 0.5, saved=1))
    one.ask("stop", name)
    one.driver.is_over()  # the request stands in the journal, and the sweep is killed before the next report
    again = Steered(tmp_path)
    assert again.sweep.states() == {name: "stopped"}
    assert again.begin() == "trial_0001"
    one.ask("add", "depth=2")
    for _ in range(2):  # killed before the file of the request is removed
        killed = Steered(tmp_path)
        for request in received(killed.sweep.folder):
            killed.ledger.answer(request)
    assert [params["depth"] for params in killed.ledger.added] == [2]


def test_a_trial_is_kept_that_the_rule_would_stop(tmp_path: Path) -> None:
    one = Steered(tmp_path)
    good, bad, kept = one.begin(), one.begin(), one.begin()
    assert not one.driver.reported(good, report(1, 0.9))
    one.ask("keep", kept)
    assert one.driver.reported(bad, report(1, 0.1))
    assert not one.driver.reported(kept, report(1, 0.05))
    assert "0.1 is worse than 0.9, which the best of 1 others reach (1 in 3)" in one.ask("why", bad)
    again = Steered(tmp_path)
    assert again.begin() in (good, kept)
    assert not again.driver.reported(kept, report(3, 0.05))


def test_an_added_configuration_is_the_next_trial_and_one_more(tmp_path: Path) -> None:
    one = Steered(tmp_path, search={"sampler": "random", "trials": 2, "seed": 3})
    one.begin()
    one.ask("add", "depth=2")
    name = one.begin()
    assert one.ledger.records[-1].params["depth"] == 2
    one.begin()
    assert one.driver.next() is None
    assert one.sweep.source.total == 3
    again = Steered(tmp_path, search={"sampler": "random", "trials": 2, "seed": 3})
    assert {again.begin() for _ in range(3)} == {"trial_0000", name, "trial_0002"}
    assert again.driver.next() is None


def test_a_grid_loses_no_configuration_to_an_added_one(tmp_path: Path) -> None:
    changes = {"search": {"sampler": "grid", "trials": 9, "seed": 3}}
    one = Steered(tmp_path, **changes)
    one.begin()
    one.ask("add", "depth=1")
    one.begin()
    again = Steered(tmp_path, **changes)
    for _ in range(3):
        again.begin()
    again.driver.failed(again.ledger.running[0].name, Failure("diverged", "nan"))
    again.begin()
    assert sorted(record.params["depth"] for record in again.ledger.records) == sorted([1, 1, 2, 3])


def test_no_trial_begins_while_a_sweep_is_held(tmp_path: Path) -> None:
    one = Steered(tmp_path)
    name = one.begin()
    one.ask("pause")
    assert one.driver.next() is None
    assert not one.driver.reported(name, report(1, 0.5))
    again = Steered(tmp_path)
    assert again.driver.next() is None
    again.ask("go")
    assert again.begin() == name


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("stop", "7"), "there is no such trial"),
        (("stop",), "takes one trial"),
        (("add", "depth=9"), "add.depth: 9 lies outside parameters.depth"),
        (("add", "deepth=2"), "deepth"),
        (("add", "depth"), "must be name=value"),
        (("add",), "needs hyperparameters"),
        (("pause", "0"), "takes nothing more"),
        (("dance",), "must be one of stop, keep, add, pause, go, why"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_and_asks_nothing(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    one = Steered(tmp_path)
    one.begin()
    with pytest.raises(UserError, match=says) as told:
        one.ask(*words)
    assert "\n" not in str(told.value)
    assert received(one.sweep.folder) == []
    with pytest.raises(UserError, match="holds no sweep"):
        fervit.control(tmp_path / "elsewhere", *words, say=None)
