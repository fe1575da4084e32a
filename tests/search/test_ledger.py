from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fervit.search.console.live import PlainScreen
from fervit.search.ledger import Ledger, Observer
from fervit.search.opening import models_kept, open_ledger
from fervit.search.outcome.confirm import confirmations
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import ConfirmSource, SearchSource
from fervit.search.policy.stopping import NeverStops, stopping_rule
from fervit.search.records.events import (
    EpochEnded,
    ModelChosen,
    TrialEnded,
    TrialResumed,
    TrialsExpected,
    TrialStarted,
)
from fervit.search.records.history import History
from fervit.search.records.journal import JournalFile, read_journal
from fervit.search.records.models_kept import ModelsKept
from fervit.search.records.ranking import ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.report import TrialReport
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.simulated import VirtualClock
from fervit.search.space.settings import TrialResources
from fervit.search.space.space_file import parse_space
from fervit.search.workers.tuner import run_trials
from fervit.search.workers.worker_group import SharedLatents
from fervit.training.failure import Failure
from tests.helpers.ledger import SPACE, Sweep, report, write_model


def test_a_new_session_knows_all_that_an_earlier_one_knew(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    good, bad, broken, going = (first.begin() for _ in range(4))
    for epoch in range(1, 10):
        first.ledger.report(good.name, report(epoch, epoch / 10))
    first.ledger.end(good.name)
    assert first.ledger.report(bad.name, report(1, 0.01))  # ASHA stops it
    first.ledger.report(broken.name, TrialReport(failure=Failure("diverged", "the loss became nan")))
    first.ledger.end(broken.name)
    assert not first.ledger.report(going.name, report(1, 0.9, saved=1))
    assert not first.ledger.report(going.name, report(2, 0.8, saved=1, best=0.9))
    # The session is killed, so nothing is closed.
    second = Sweep(tmp_path)
    assert second.states() == {good.name: "finished", bad.name: "stopped", broken.name: "failed", going.name: "running"}
    assert second.ledger.n_ended == 3
    again = second.begin()
    assert again == going
    # The trial continues from its saved state, and the rule does not judge the same epochs twice.
    assert not second.ledger.report(going.name, report(1, 0.9, saved=1, again=True))
    assert [row.epoch for row in second.ledger.running[0].epochs] == [1]
    assert not second.ledger.report(going.name, report(2, 0.8, saved=1, best=0.9))
    assert second.begin().number == 4
    seconds = [event.row.seconds for event in second.ledger.events if isinstance(event, EpochEnded)]
    assert sum(seconds) == 2.0 * (9 + 1 + 2 + 1)


def test_an_epoch_that_was_saved_but_not_told_is_told_first(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    name = first.begin().name
    first.ledger.report(name, report(1, 0.5, saved=1))
    second = Sweep(tmp_path)  # the trial's own file is of epoch 2 by now
    assert second.begin().name == name
    assert not second.ledger.report(name, report(2, 0.6, saved=2, again=True))
    assert not second.ledger.report(name, report(3, 0.7, saved=2))
    # Its process dies, and the next one begins with a report of the saved epoch, which the journal already has.
    assert not second.ledger.report(name, report(2, 0.6, saved=2, again=True))
    assert [row.epoch for row in second.ledger.records[0].epochs] == [1, 2]
    assert not second.ledger.report(name, report(3, 0.7, saved=2))
    assert [row.epoch for row in Sweep(tmp_path).ledger.records[0].epochs] == [1, 2, 3]


def test_short_epochs_are_reported_in_groups_which_a_killed_process_may_report_again(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    name = first.begin().name
    one, two, three, four = (report(epoch, epoch / 10, saved=3) for epoch in range(1, 5))
    assert not first.ledger.report(name, replace(three, earlier=(one, two)))
    assert [row.epoch for row in first.ledger.records[0].epochs] == [1, 2, 3]
    # The process saved after epoch 4 and died before it reported it. The next one reports the group of that state.
    again = replace(four, again=True, earlier=(replace(three, again=True),))
    assert not first.ledger.report(name, TrialReport.from_tune({**again.to_tune(), "pid": 7, "node_ip": "10.0.0.1"}))
    assert [row.epoch for row in first.ledger.records[0].epochs] == [1, 2, 3, 4]
    assert first.ledger.records[0].pid == 7
    # The epochs before a failure are recorded, too.
    failed = TrialReport(failure=Failure("diverged", "the loss became nan"), earlier=(report(5, 0.5),))
    assert first.ledger.report(name, TrialReport.from_tune(failed.to_tune()))
    assert [row.epoch for row in Sweep(tmp_path).ledger.records[0].epochs] == [1, 2, 3, 4, 5]
    assert first.ledger.records[0].failure == failed.failure


def test_what_was_decided_before_a_kill_is_carried_out_after_it(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    leading, stopped, ended = first.begin(), first.begin(), first.begin()
    first.ledger.report(leading.name, report(1, 0.9))
    first.ledger.report(stopped.name, report(1, 0.1))
    for epoch in range(1, 10):
        first.ledger.report(ended.name, report(epoch, 0.95))
    journal = SweepFolder(tmp_path).journal
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in lines if b'"end"' not in line) + b'{"event": "epo')
    second = Sweep(tmp_path)
    assert second.states() == {leading.name: "running", stopped.name: "stopped", ended.name: "finished"}
    study = second.sampler.trials
    assert [trial.state.name for trial in study] == ["RUNNING", "PRUNED", "COMPLETE"]


def test_a_trial_that_was_asked_for_but_not_written_down_is_started(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    known = first.begin()
    lost = first.sampler.ask()
    second = Sweep(tmp_path)
    assert second.begin() == known
    planned = second.begin()
    assert (planned.number, planned.params) == lost  # asked again, it is the same
    assert second.begin().number == 2


def test_a_study_that_lost_its_tail_is_made_whole_again(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    names = [first.begin().name for _ in range(3)]
    for epoch in range(1, 10):
        first.ledger.report(names[2], report(epoch, 0.5))
    first.ledger.end(names[2])
    study = tmp_path / "study.journal"
    lines = study.read_bytes().splitlines(keepends=True)
    study.write_bytes(b"".join(lines[: len(lines) // 4]) + b'{"op_code": 5, "tri')
    second = Sweep(tmp_path)
    params = [record.params for record in first.ledger.records]
    assert [trial.params for trial in second.sampler.trials] == params
    assert second.sampler.trials[2].value == 0.5
    assert [second.begin().number for _ in range(3)] == [0, 1, 3]


def play(sweep: Sweep, n: int) -> list[dict[str, Any]]:
    """Runs n trials one after the other. A third of them finish, a third are stopped by the rule, and a third fail."""
    params = []
    for _ in range(n):
        planned = sweep.begin()
        params.append(planned.params)
        if planned.number % 3 == 2:
            sweep.ledger.end(planned.name, Failure("out of memory" if planned.number % 2 else "diverged", "..."))
            continue
        for epoch in range(1, 10):
            value = (1 - abs(math.log10(planned.params["lr"]) + 3) / 2) * epoch / 9
            if sweep.ledger.report(planned.name, report(epoch, value)):
                break
        sweep.ledger.end(planned.name)
    return params


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes", pytest.param("gp", marks=pytest.mark.long)])
def test_a_study_that_was_lost_is_made_again_from_the_journal(sampler: str, tmp_path: Path) -> None:
    given = {
        "search": {"sampler": sampler, "trials": 40, "seed": 3},
        "parameters": {
            "lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-1},
            "dropout": {"distribution": "uniform", "min": 0.0, "max": 0.5},
        },
    }
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = Sweep(tmp_path / "whole", **given)
    expected = play(whole, 24)
    found = play(Sweep(tmp_path / "killed", **given), 16)
    (tmp_path / "killed" / "study.journal").unlink()
    second = Sweep(tmp_path / "killed", **given)
    assert found + play(second, 8) == expected
    ends = [(trial.state, trial.values, trial.intermediate_values) for trial in second.sampler.trials]
    assert ends == [(trial.state, trial.values, trial.intermediate_values) for trial in whole.sampler.trials]


def test_trials_that_end_after_the_last_word_to_optuna_are_told_later(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    one = first.begin()
    first.source.tell = lambda record: None  # type: ignore[method-assign]  # killed before Optuna gets the result
    for epoch in range(1, 10):
        first.ledger.report(one.name, report(epoch, 0.5))
    first.ledger.end(one.name)
    assert Sweep(tmp_path).sampler.trials[0].value == 0.5


def test_more_trials_can_be_added_to_a_sweep_that_has_ended(tmp_path: Path) -> None:
    first = Sweep(tmp_path, search={**SPACE["search"], "trials": 2})
    for _ in range(2):
        name = first.begin().name
        for epoch in range(1, 10):
            first.ledger.report(name, report(epoch, 0.5))
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
    for epoch in range(1, 10):
        first.ledger.report(done.name, report(epoch, 0.5))
    first.ledger.end(done.name)
    second = Sweep(tmp_path)
    second.ledger.use(ConfirmSource(second.space, second.ledger.records[:1], second.ledger.records))
    assert second.begin().name == going.name
    assert second.ledger.begin() is None
    assert not second.ledger.complete


def test_a_rerun_that_was_stopped_is_confirmed_from_its_beginning(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    best = first.begin()
    first.ledger.report(best.name, report(1, 0.9))
    first.ledger.end(best.name)
    first.ledger.use(ConfirmSource(first.space, first.ledger.records, first.ledger.records))
    cut, _ = first.begin(), first.begin()
    first.ledger.report(cut.name, report(1, 0.9))
    first.ledger.end_all()  # the budget is spent
    assert first.states() == {best.name: "stopped", f"{best.name}_seed4": "stopped", f"{best.name}_seed5": "stopped"}

    second = Sweep(tmp_path)
    source = ConfirmSource(second.space, second.ledger.records[:1], second.ledger.records)
    second.ledger.use(source)
    again = [second.begin().name, second.begin().name]
    assert again == [f"{best.name}_seed4", f"{best.name}_seed5"]
    assert [len(record.epochs) for record in second.ledger.running] == [0, 0]
    for name in again:
        assert not second.ledger.complete
        for epoch in range(1, 10):
            second.ledger.report(name, report(epoch, 0.5))
        second.ledger.end(name)
    assert second.ledger.complete
    assert source.total == 2


def test_where_no_trial_is_left_to_start_those_of_a_killed_session_end(tmp_path: Path) -> None:
    """The sweep is resumed with fewer trials than it has begun, so that Ray Tune is not even started."""
    first = Sweep(tmp_path)
    ended, running = first.begin(), first.begin()
    first.ledger.report(running.name, report(1, 0.9))
    first.ledger.end(ended.name)
    second = Sweep(tmp_path, search={**SPACE["search"], "trials": 1})
    latents = SharedLatents(train=(), val=())  # type: ignore[arg-type]
    run_trials(second.ledger, SweepFolder(tmp_path), latents, TrialResources(), name="trials")
    assert second.states() == {ended.name: "stopped", running.name: "stopped"}
    assert second.ledger.complete


def test_what_memory_was_short_for_is_tried_again_when_nothing_else_runs(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, search={**SPACE["search"], "trials": 3})
    killed, beside = sweep.begin(), sweep.begin()
    sweep.ledger.begin_again(killed.name, "out of memory: Ray killed it", alone=True)
    third = sweep.begin()
    assert third.number == 2
    assert sweep.ledger.begin() is None  # two others run
    for planned in (beside, third):
        sweep.ledger.end(planned.name)
    assert sweep.begin() == killed
    assert sweep.ledger.begin() is None
    sweep.ledger.end(killed.name, Failure("out of memory", "Ray killed it"))
    assert sweep.ledger.complete


def test_a_configuration_that_is_tried_again_gets_a_fresh_seed_after_a_restart_too(tmp_path: Path) -> None:
    """Three configurations there are, so that seven trials repeat some."""
    sweep = Sweep(tmp_path, search={**SPACE["search"], "trials": 7})
    planned = [sweep.begin() for _ in range(4)]
    sweep = Sweep(tmp_path, search={**SPACE["search"], "trials": 7})
    sweep.ledger.use(sweep.source)
    planned = [sweep.begin() for _ in range(7)]
    assert [one.number for one in planned] == list(range(7))
    runs = {(one.params["depth"], one.config.seed) for one in planned}
    assert len(runs) == 7
    assert {depth for depth, seed in runs if seed == 3} == {1, 2, 3}
    reruns = range(4, 4 + 2)
    assert not any(seed in reruns for _, seed in runs)


def test_a_report_without_the_metric_is_a_failure_of_its_trial(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    name = sweep.begin().name
    assert sweep.ledger.report(name, TrialReport.from_tune({"loss": 1.0}))
    sweep.ledger.end(name)
    assert str(sweep.ledger.records[0].failure).startswith("metric missing: a report without best_value")
    assert "metric missing" in sweep.lines[0]


class Fails(Observer):
    """An observer that fails at each epoch."""

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        raise OSError("the disk is full")


def test_an_observer_that_fails_is_left_out_and_the_sweep_goes_on(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, Fails())
    name = sweep.begin().name
    for epoch in range(1, 10):
        assert not sweep.ledger.report(name, report(epoch, epoch / 10))
    sweep.ledger.end(name)
    assert sweep.states() == {name: "finished"}
    assert sweep.lines[0] == "Fails failed and is left out from now on: the disk is full"
    assert sum("left out" in line for line in sweep.lines) == 1


def test_a_choice_is_recorded_once_until_it_changes(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    play_two = [first.begin().name for _ in range(2)]
    for name, value in zip(play_two, (0.4, 0.5), strict=True):
        first.ledger.report(name, report(1, value))
        first.ledger.end(name)
    records = first.ledger.records
    first.ledger.choose(records[0], confirmed=[0, 1], ties=[1])
    first.ledger.choose(records[0], confirmed=[0, 1], ties=[1])
    second = Sweep(tmp_path)
    assert second.ledger.choice is not None
    assert (second.ledger.choice.number, second.ledger.choice.ties) == (0, (1,))
    assert sum(isinstance(event, ModelChosen) for event in second.ledger.events) == 1
    second.ledger.choose(second.ledger.records[1], confirmed=[1])
    assert Sweep(tmp_path).ledger.choice == second.ledger.choice
    assert second.ledger.choice.number == 1


def budgeted(folder: Path, hours: float, clock: VirtualClock) -> tuple[Ledger, SpaceSampler, list[str]]:
    """Opens a sweep of six trials with a budget, and with a clock that stands still by itself."""
    lines: list[str] = []
    space = parse_space({**SPACE, "budget": {"hours": hours}, "search": {**SPACE["search"], "trials": 6}}, "s.yaml")
    files = SweepFolder(folder)
    rule = stopping_rule(space.early_stopping, space.metric)
    models = ModelsKept(files, space.metric, 2)
    ledger = Ledger(space, JournalFile(files.journal), rule, [PlainScreen(lines.append)], models=models, clock=clock)
    sampler = SpaceSampler(space, files.study, ledger.events)
    ledger.use(SearchSource(space, sampler, ledger.records))
    return ledger, sampler, lines


def begin(ledger: Ledger) -> str:
    planned = ledger.begin()
    assert planned is not None
    return planned.name


def test_what_a_budget_cut_goes_on_with_a_larger_one_and_the_sampler_hears_nothing_bad(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger, sampler, _ = budgeted(tmp_path, 1.0, clock)
    saved, removed, early = begin(ledger), begin(ledger), begin(ledger)
    clock.now = 1800.0  # nothing could start for half an hour, which does not count
    assert ledger.spent() is None
    for name in (saved, removed, early):
        ledger.placed(name)
        ledger.report(name, report(1, 0.5, saved=0 if name == early else 1))
    folder = SweepFolder(tmp_path).trial(saved)
    folder.path.mkdir(parents=True)
    folder.last.touch()
    clock.now += 3599
    assert ledger.spent() is None
    clock.now += 2
    over = ledger.spent()
    assert over == ("hours", "the budget of 1 hours is spent after 3 of 6 trials, 3 of which it cut")
    ledger.end_part(*over)
    ledger.end_all()
    assert [(record.state, record.cut) for record in ledger.records] == [("stopped", True)] * 3
    assert [trial.state.name for trial in sampler.trials] == ["FAIL"] * 3  # neither is one that was worse
    ledger.close()
    same, _, _ = budgeted(tmp_path, 1.0, VirtualClock())
    assert same.running == []
    assert same.ended_because() == over[1]
    same.close()
    more, sampler, _ = budgeted(tmp_path, 2.0, VirtualClock())
    assert [record.name for record in more.running] == [saved, early]  # which had saved nothing yet
    assert [trial.state.name for trial in sampler.trials] == ["RUNNING", "FAIL", "RUNNING"]
    assert more.ended_because() == ""
    assert [begin(more), begin(more)] == [saved, early]
    assert more.n_ended == 1
    for epoch in range(2, 10):
        more.report(saved, report(epoch, 0.6, saved=1))
    for epoch in range(1, 10):
        more.report(early, report(epoch, 0.6))
    more.end(saved)
    more.end(early)
    assert [(record.state, len(record.epochs)) for record in more.records] == [
        ("finished", 9),
        ("stopped", 1),
        ("finished", 9),
    ]
    assert begin(more) == "trial_0003"


def test_hours_and_the_reason_of_the_end_are_those_of_the_search_alone(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger, _, _ = budgeted(tmp_path, 1.0, clock)
    for _ in range(6):
        name = begin(ledger)
        ledger.placed(name, gpus=0.5)
        clock.now += 500
        for epoch in range(1, 10):
            ledger.report(name, report(epoch, 0.9))
        ledger.end(name)
    ledger.use(ConfirmSource(ledger.space, ledger.records[:1], ledger.records))
    rerun = begin(ledger)
    ledger.placed(rerun, gpus=0.5)
    clock.now += 9000
    assert ledger.spent() is None
    for epoch in range(1, 10):
        ledger.report(rerun, report(epoch, 0.9))
    ledger.end(rerun)
    assert (ledger.held_seconds(), ledger.held_seconds("confirm")) == (3000.0, 9000.0)
    assert (ledger.gpu_seconds(), ledger.elapsed_seconds()) == (1500.0, 12000.0)
    again, _, _ = budgeted(tmp_path, 1.0, VirtualClock())
    assert again.held_seconds() == 3000.0  # the resumed search still has ten minutes
    assert again.ended_because() == ""


def test_a_damaged_line_is_a_line_on_the_screen_and_the_sweep_goes_on(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    names = [first.begin().name for _ in range(3)]
    for name in names:
        first.ledger.report(name, report(1, 0.5))
    journal = SweepFolder(tmp_path).journal
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join("{]\n" if '"start"' in line and names[1] in line else line for line in lines))
    second = Sweep(tmp_path)
    assert list(second.states()) == [names[0], names[2]]
    assert "line 3 is damaged" in second.lines[0]
    assert f"1 events of {names[1]} are left out, since the line of their start is missing" in second.lines[1]
    assert [second.begin().name for _ in range(3)] == [names[0], names[2], "trial_0003"]
    params = {record.number: record.params for record in second.ledger.records}
    assert {trial.number: trial.params for trial in second.sampler.trials if trial.number != 1} == params
    for number, value in ((0, 0.6), (2, 0.7)):
        for epoch in range(2, 10):
            second.ledger.report(names[number], report(epoch, value))
        second.ledger.end(names[number])
    assert [trial.value for trial in second.sampler.trials] == [0.6, None, 0.7, None]
    before = SweepFolder(tmp_path).study.read_bytes()
    third = Sweep(tmp_path)
    assert third.begin().name == "trial_0003"
    assert SweepFolder(tmp_path).study.read_bytes().startswith(before)  # nor is the study written anew each time


def test_a_grid_tries_again_what_a_lost_line_held(tmp_path: Path) -> None:
    changes = {"search": {"sampler": "grid", "trials": 3}}
    first = Sweep(tmp_path, **changes)
    for _ in range(2):
        first.begin()
    journal = SweepFolder(tmp_path).journal
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if '"trial_0000"' not in line))
    second = Sweep(tmp_path, **changes)
    found = [second.begin().params["depth"] for _ in range(3)]
    assert sorted(found) == [1, 2, 3]
    assert second.ledger.begin() is None


class StopsAll:
    """A rule that stops every trial at once, as another version might."""

    def stops(self, record: TrialRecord, best_value: float, value: float) -> bool:
        return True


def test_a_decision_of_the_journal_stands_whatever_the_rule_would_decide_now(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    ended, going, stopped = (first.begin().name for _ in range(3))
    for epoch in range(1, 10):
        first.ledger.report(ended, report(epoch, 0.9))
    first.ledger.end(ended)
    for epoch in (1, 2):
        first.ledger.report(going, report(epoch, 0.95))
    first.ledger.report(stopped, report(1, 0.1))
    first.ledger.close()
    for rule in (StopsAll(), NeverStops()):
        again = open_ledger(first.space, SweepFolder(tmp_path), rule=rule)
        assert [record.state for record in again.records] == ["finished", "running", "stopped"]
        again.close()


@pytest.mark.parametrize(("trials", "runs"), [(13, 0), (14, 3)])
def test_the_noise_is_measured_only_where_trials_are_left_that_it_could_save(
    tmp_path: Path, trials: int, runs: int
) -> None:
    sweep = Sweep(tmp_path, search={"sampler": "random", "trials": trials}, budget={"until_noise": True})
    for number in range(10):
        name = sweep.begin().name
        sweep.ledger.report(name, report(1, number / 100))
        sweep.ledger.end(name)
    assert sweep.source.total == trials + runs
    planned = [sweep.begin().purpose for _ in range(3)]
    assert planned == (["noise"] * 3 if runs else ["search"] * 3)


def test_what_was_confirmed_measures_the_noise_of_added_trials_and_keeps_its_values_and_models(tmp_path: Path) -> None:
    def begun(trials: int) -> Sweep:
        search = {"sampler": "random", "trials": trials, "seed": 3}
        confirm, parameters = {"top": 1, "seeds": 2}, {"dropout": {"distribution": "uniform", "min": 0, "max": 0.5}}
        return Sweep(tmp_path, search=search, budget={"until_noise": True}, confirm=confirm, parameters=parameters)

    def finish(sweep: Sweep, name: str, value: float) -> None:
        for epoch in range(1, 10):
            sweep.ledger.report(name, report(epoch, value * epoch / 9))
        sweep.ledger.end(name)

    first = begun(12)
    for number in range(12):
        finish(first, first.begin().name, 0.9 if number == 2 else 0.5)
    best = ranked([one for one in first.ledger.records if one.purpose == "search"], first.space.metric)[:1]
    first.ledger.use(ConfirmSource(first.space, best, first.ledger.records))
    for value in (0.88, 0.89):
        planned = first.begin()
        finish(first, planned.name, value)
        write_model(SweepFolder(tmp_path), planned.name, 9, value)
    first.ledger.done()
    first.ledger.close()
    again = begun(40)
    assert [again.begin().purpose for _ in range(2)] == ["noise", "search"]  # two of three runs are there already
    runs = [one for one in again.ledger.records if one.purpose == "confirm"]
    assert [one.state for one in runs] == ["finished"] * 2
    assert all(SweepFolder(tmp_path).trial(one.name).best_model.is_file() for one in runs)
    assert confirmations(best, again.ledger.records, again.space)[0].values == pytest.approx((0.88, 0.89))


def test_a_second_command_at_the_same_sweep_ends_the_first(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    name = first.begin().name
    second = Sweep(tmp_path)  # on a share whose locks do not work
    assert second.begin().name == name
    first.ledger.report(name, report(1, 0.5))
    assert first.ledger.broken is not None
    assert "another command writes to this sweep, so this one ends" in str(first.ledger.broken)
    assert second.ledger.broken is None
    second.ledger.report(name, report(1, 0.6))
    third = Sweep(tmp_path)
    assert [row.f1_macro for row in third.ledger.records[0].epochs] == [0.6]


THAW = {"scheduler": "thaw", "max_epochs": 9, "max_paused": 8}


def test_a_paused_trial_waits_through_a_kill_and_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Sweep(tmp_path, early_stopping=THAW, search={"sampler": "random", "trials": 6, "seed": 3})
    lead, other = first.begin().name, first.begin().name
    for epoch in range(1, 10):
        first.ledger.report(lead, report(epoch, 0.1 * epoch, saved=epoch))
    first.ledger.end(lead)
    stops = [first.ledger.report(other, report(epoch, 0.001, saved=epoch)) for epoch in range(1, 5)]
    paused = next(record for record in first.ledger.records if record.name == other)
    assert stops[-1]
    assert paused.why.startswith("paused at epoch 4: ")
    assert other in [record.name for record in first.ledger.paused]
    first.ledger.end(other)  # its process has ended, and the trial has not
    # The session is killed between the epoch that decided and the line of the pause.
    journal = SweepFolder(tmp_path).journal
    lines = journal.read_bytes().splitlines(keepends=True)
    pauses = [i for i, line in enumerate(lines) if b'"paused"' in line and other.encode() in line]
    journal.write_bytes(b"".join(lines[: pauses[-1]]))
    second = Sweep(tmp_path, early_stopping=THAW, search={"sampler": "random", "trials": 6, "seed": 3})
    assert {record.name: record.why for record in second.ledger.paused}[other] == paused.why
    assert second.ledger.n_waiting == 0


def trained_to_its_end(sweep: Sweep) -> None:
    """Trains what the search begins, until it begins nothing more."""
    while (planned := sweep.ledger.begin()) is not None:
        done = next(len(record.epochs) for record in sweep.ledger.records if record.name == planned.name)
        for epoch in range(done + 1, 10):
            value = 0.01 * epoch * (1 + planned.params["depth"])
            if sweep.ledger.report(planned.name, report(epoch, value, saved=epoch)):
                break
        sweep.ledger.end(planned.name)


def test_what_the_curves_let_expect_is_recorded_once_for_a_search_and_again_when_it_has_gone_on(tmp_path: Path) -> None:
    def opened(trials: int) -> Sweep:
        return Sweep(tmp_path, early_stopping=THAW, search={"sampler": "random", "trials": trials, "seed": 3})

    def expected() -> list[dict[str, float]]:
        return [one.values for one in read_journal(journal) if isinstance(one, TrialsExpected)]

    journal = SweepFolder(tmp_path).journal
    first = opened(6)
    trained_to_its_end(first)
    first.ledger.expect()
    first.ledger.expect()
    (values,) = expected()
    begun = [record for record in first.ledger.records if record.epochs]
    assert {record.name: record.expected for record in begun} == values
    deepest = max(record.params["depth"] for record in begun)
    best = max(begun, key=lambda record: record.expected or 0.0)
    assert best.params["depth"] == deepest
    again = opened(6)
    again.ledger.expect()
    assert expected() == [values]
    more = opened(9)
    trained_to_its_end(more)
    more.ledger.expect()
    assert len(expected()) == 2
    assert {record.name for record in more.ledger.records if record.expected is not None} == set(expected()[1])

    # Both parts were cut, and go on: the search first.
    begun = more.ledger.records[0]
    cut = [TrialEnded(time=1.0, name=begun.name, state="stopped", cut=True)]
    history = History([*read_journal(journal), *cut, TrialResumed(time=1.0, name=begun.name)])
    assert history.expects
    again_cut = TrialStarted(time=1.0, name="again", number=0, seed=9, purpose="confirm", params=begun.params)
    history = History([*read_journal(journal), again_cut, *cut])
    assert not history.expects
    for name in (begun.name, "again"):
        history.apply(TrialResumed(time=1.0, name=name))
    assert history.expects

    # A sweep that an earlier version has confirmed keeps its choice.
    lines = [line for line in journal.read_bytes().splitlines(keepends=True) if b'"expected"' not in line]
    journal.write_bytes(b"".join(lines))
    confirming = opened(9)
    confirming.ledger.use(ConfirmSource(confirming.space, confirming.ledger.records[:2], confirming.ledger.records))
    confirming.begin()
    opened(9).ledger.expect()
    assert expected() == []


class InTurns:
    """Lets each trial pause after its second epoch."""

    def drawn(self, record: TrialRecord) -> None: ...

    def learn(self, name: str, epoch: int, best_value: float) -> None: ...

    def failed(self, name: str) -> None: ...

    def pauses(self, name: str, epoch: int, paused: Collection[str], busy: Collection[str]) -> bool:
        return epoch == 2

    def choose(self, paused: Collection[str], busy: Collection[str]) -> str | None:
        return max(paused, default=None)

    def surplus(self, paused: Sequence[str]) -> str | None:
        return None

    def expected(self) -> dict[str, float]:
        return {}

    def reason(self, name: str) -> str:
        return "it is another's turn"


def test_a_paused_trial_whose_state_is_lost_begins_again_and_it_is_said(tmp_path: Path) -> None:
    space = parse_space(SPACE, "s.yaml")
    files, lines = SweepFolder(tmp_path), list[str]()
    ledger = Ledger(
        space,
        JournalFile(files.journal),
        NeverStops(),
        [PlainScreen(lines.append)],
        models=models_kept(space, files),
        pausing=InTurns(),
    )
    ledger.use(SearchSource(space, SpaceSampler(space)))
    planned = ledger.begin()
    assert planned is not None
    assert [ledger.report(planned.name, report(epoch, 0.1, saved=epoch)) for epoch in (1, 2)] == [False, True]
    assert ledger.begin() == planned
    assert f"{planned.name}: its saved state is gone, so it begins again" in lines
    assert not ledger.report(planned.name, report(1, 0.1, saved=1))
    assert not ledger.report(planned.name, report(2, 0.1, saved=2))  # which was judged before
    record = next(record for record in ledger.records if record.name == planned.name)
    assert [row.epoch for row in record.epochs] == [1, 2]
    assert record.why == "went on after epoch 2: it is another's turn"


def test_a_trial_that_was_cut_before_it_wrote_a_model_takes_no_other_model_away(tmp_path: Path) -> None:
    files = SweepFolder(tmp_path)
    sweep = Sweep(tmp_path)
    models = ModelsKept(files, sweep.space.metric, 1)
    with_model, without = sweep.begin().name, sweep.begin().name
    for name, value in ((with_model, 0.5), (without, 0.9)):
        sweep.ledger.report(name, report(1, value))
    write_model(files, with_model, 1, 0.5)
    first, second = sweep.ledger.records
    first.state, second.state, second.cut = "stopped", "stopped", True
    models.ended(first)
    models.ended(second)
    models.take_up([first, second])
    assert files.trial(with_model).best_model.is_file()
