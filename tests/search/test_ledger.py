from __future__ import annotations

from pathlib import Path

from fervit.search.policy.sources import ConfirmSource
from fervit.search.records.journal import FILE
from tests.helpers.ledger import SPACE, Sweep, report


def test_a_new_session_knows_all_that_an_earlier_one_knew(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    good, bad, broken, going = (first.begin() for _ in range(4))
    for epoch in range(1, 10):
        first.ledger.epoch(good.name, report(epoch, epoch / 10))
    first.ledger.end(good.name)
    assert first.ledger.epoch(bad.name, report(1, 0.01))  # ASHA stops it
    first.ledger.epoch(broken.name, {"failure": "diverged: the loss became nan", "done": True})
    first.ledger.end(broken.name)
    assert not first.ledger.epoch(going.name, report(1, 0.9, saved=1))
    assert not first.ledger.epoch(going.name, report(2, 0.8, saved=1, best=0.9))
    # Killed: nothing is closed.
    second = Sweep(tmp_path)
    assert second.states() == {good.name: "finished", bad.name: "stopped", broken.name: "failed", going.name: "running"}
    assert second.ledger.n_ended == 3
    again = second.begin()
    assert again == going
    # It goes on from its last save, and what the rule has seen is not judged twice.
    assert not second.ledger.epoch(going.name, {**report(1, 0.9, saved=1), "again": True})
    assert [row["epoch"] for row in second.ledger.running[0].epochs] == [1]
    assert not second.ledger.epoch(going.name, report(2, 0.8, saved=1, best=0.9))
    assert second.begin().number == 4
    assert second.ledger.spent_seconds() == 2.0 * (9 + 1 + 2 + 1)


def test_an_epoch_that_was_saved_but_not_told_is_told_first(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    name = first.begin().name
    first.ledger.epoch(name, report(1, 0.5, saved=1))
    second = Sweep(tmp_path)  # the trial's own file is of epoch 2 by now
    assert second.begin().name == name
    assert not second.ledger.epoch(name, {**report(2, 0.6, saved=2), "again": True})
    assert not second.ledger.epoch(name, report(3, 0.7, saved=2))
    # Its process dies: it begins again with the epoch that it was saved after, which is known.
    assert not second.ledger.epoch(name, {**report(2, 0.6, saved=2), "again": True})
    assert [row["epoch"] for row in second.ledger.records[0].epochs] == [1, 2]
    assert not second.ledger.epoch(name, report(3, 0.7, saved=2))
    assert [row["epoch"] for row in Sweep(tmp_path).ledger.records[0].epochs] == [1, 2, 3]


def test_what_was_decided_before_a_kill_is_carried_out_after_it(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    leading, stopped, ended = first.begin(), first.begin(), first.begin()
    first.ledger.epoch(leading.name, report(1, 0.9))
    first.ledger.epoch(stopped.name, report(1, 0.1))
    for epoch in range(1, 10):
        first.ledger.epoch(ended.name, report(epoch, 0.95))
    journal = tmp_path / FILE
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in lines if b'"end"' not in line) + b'{"event": "epo')
    second = Sweep(tmp_path)
    assert second.states() == {leading.name: "running", stopped.name: "stopped", ended.name: "finished"}
    study = second.sampler._study.trials
    assert [trial.state.name for trial in study] == ["RUNNING", "PRUNED", "COMPLETE"]


def test_a_trial_that_was_asked_for_but_not_written_down_is_started(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    known = first.begin()
    lost = first.sampler.ask()
    second = Sweep(tmp_path)
    assert second.begin() == known
    planned = second.begin()
    assert (planned.number, planned.params) == lost
    assert second.begin().number == 2


def test_a_study_that_lost_its_tail_is_made_whole_again(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    names = [first.begin().name for _ in range(3)]
    for epoch in range(1, 10):
        first.ledger.epoch(names[2], report(epoch, 0.5))
    first.ledger.end(names[2])
    study = tmp_path / "study.journal"
    lines = study.read_bytes().splitlines(keepends=True)
    study.write_bytes(b"".join(lines[: len(lines) // 4]) + b'{"op_code": 5, "tri')
    second = Sweep(tmp_path)
    params = [record.params for record in first.ledger.records]
    assert [trial.params for trial in second.sampler._study.trials] == params
    assert second.sampler._study.trials[2].value == 0.5
    assert [second.begin().number for _ in range(3)] == [0, 1, 3]


def test_trials_that_end_after_the_last_word_to_optuna_are_told_later(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    one = first.begin()
    first.source.tell = lambda record: None  # type: ignore[method-assign]  # killed before Optuna hears of it
    for epoch in range(1, 10):
        first.ledger.epoch(one.name, report(epoch, 0.5))
    first.ledger.end(one.name)
    assert Sweep(tmp_path).sampler._study.trials[0].value == 0.5


def test_more_trials_can_be_added_to_a_sweep_that_has_ended(tmp_path: Path) -> None:
    first = Sweep(tmp_path, search={**SPACE["search"], "trials": 2})
    for _ in range(2):
        name = first.begin().name
        for epoch in range(1, 10):
            first.ledger.epoch(name, report(epoch, 0.5))
        first.ledger.end(name)
    assert first.ledger.begin() is None
    assert first.ledger.complete
    second = Sweep(tmp_path, search={**SPACE["search"], "trials": 3})
    assert not second.ledger.complete
    assert second.begin().number == 2
    assert second.ledger.begin() is None


def test_a_confirmation_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    best = first.begin()
    first.ledger.end(best.name)
    records = first.ledger.records
    first.ledger.use(ConfirmSource(first.space, records, first.ledger.records))
    done, going = first.begin(), first.begin()
    assert [done.name, going.name] == [f"{best.name}_seed4", f"{best.name}_seed5"]
    first.ledger.end(done.name)
    second = Sweep(tmp_path)
    second.ledger.use(ConfirmSource(second.space, second.ledger.records[:1], second.ledger.records))
    assert second.begin().name == going.name
    assert second.ledger.begin() is None
    assert not second.ledger.complete


def test_a_report_without_the_metric_is_a_failure_of_its_trial(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    name = sweep.begin().name
    assert sweep.ledger.epoch(name, {"loss": 1.0})
    sweep.ledger.end(name)
    assert sweep.ledger.records[0].failure.startswith("metric missing: a report without best_value")
    assert "metric missing" in sweep.lines[0]
