"""What the driver makes of the reports of a backend, whichever order they arrive in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fervit.search.driver import Driver, Room
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.simulated import VirtualClock
from fervit.search.space.settings import TrialResources
from fervit.training.failure import NODE_LEAVES, OUT_OF_MEMORY, PROCESS_DIED, Failure
from tests.helpers.ledger import Sweep, report


def driver_of(sweep: Sweep, folder: Path, failures: int = 3) -> Driver:
    clock = VirtualClock()
    return Driver(
        sweep.ledger,
        Room(lambda: (2, 2), clock=clock),
        TrialResources(max_failures=failures),
        SweepFolder(folder),
        clock,
    )


def epochs(sweep: Sweep) -> list[int]:
    return [row.epoch for row in sweep.ledger.records[0].epochs]


def test_a_report_that_arrives_twice_or_after_a_later_one_changes_nothing(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    driver = driver_of(sweep, tmp_path)
    planned = driver.next()
    assert planned is not None
    for epoch in (1, 2, 2, 1, 3):
        assert not driver.reported(planned.name, report(epoch, epoch / 10))
    assert epochs(sweep) == [1, 2, 3]
    again = Sweep(tmp_path)  # the journal has them once, too
    assert epochs(again) == [1, 2, 3]


def test_the_first_report_after_a_loss_that_arrives_again_takes_no_epoch_back(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    driver = driver_of(sweep, tmp_path)
    planned = driver.next()
    assert planned is not None
    name = planned.name
    driver.reported(name, report(1, 0.1))
    driver.reported(name, report(2, 0.2, saved=2))
    driver.failed(name, Failure(PROCESS_DIED, "killed"))
    again = driver.next()
    assert again == planned
    second = replace(report(2, 0.2, saved=2, again=True), pid=2, started=9.0)
    assert not driver.reported(name, second)
    assert not driver.reported(name, replace(report(3, 0.3, saved=2), pid=2, started=9.0))
    assert not driver.reported(name, second)
    assert epochs(sweep) == [1, 2, 3]


def test_a_process_that_was_given_up_is_told_to_stop_and_not_believed(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    driver = driver_of(sweep, tmp_path)
    planned = driver.next()
    assert planned is not None
    driver.reported(planned.name, report(1, 0.1))
    driver.failed(planned.name, Failure(PROCESS_DIED, "its node fell silent"))
    assert driver.reported(planned.name, report(2, 0.2))  # it was alive all the time
    assert epochs(sweep) == [1]


def test_a_trial_is_given_up_after_its_deaths_but_not_for_nodes_that_leave(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    driver = driver_of(sweep, tmp_path, failures=1)
    planned = driver.next()
    assert planned is not None
    for _ in range(5):
        driver.failed(planned.name, Failure(NODE_LEAVES, "saved"))
    driver.failed(planned.name, Failure(OUT_OF_MEMORY, "killed by the monitor"))  # once more, alone
    driver.failed(planned.name, Failure(PROCESS_DIED, "killed"))
    assert sweep.states() == {planned.name: "running"}
    driver.failed(planned.name, Failure(PROCESS_DIED, "killed"))
    assert sweep.states() == {planned.name: "failed"}


@pytest.mark.parametrize(("within", "waits"), [(10.0, False), (75.0, True)])
def test_a_request_to_end_waits_for_epochs_that_end_within_the_time_that_it_leaves(
    tmp_path: Path, within: float, waits: bool
) -> None:
    sweep = Sweep(tmp_path)
    driver = driver_of(sweep, tmp_path)
    planned = driver.next()
    assert planned is not None
    told = report(1, 0.1, saved=1)
    assert told.epoch is not None
    driver.reported(planned.name, replace(told, epoch=replace(told.epoch, seconds=40.0)))
    driver.interrupt(within)
    assert driver.is_over() != waits
    if waits:
        driver.reported(planned.name, report(2, 0.2, saved=2))
        assert driver.is_over()
        assert epochs(sweep) == [1, 2]


def test_a_place_that_is_lost_after_ctrl_c_is_free_and_its_trial_goes_on_when_the_sweep_is_resumed(
    tmp_path: Path,
) -> None:
    sweep = Sweep(tmp_path)
    driver = driver_of(sweep, tmp_path)
    planned = driver.next()
    assert planned is not None
    driver.placed(planned.name)
    driver.interrupt()
    driver.failed(planned.name, Failure(PROCESS_DIED, "killed"))
    assert sweep.ledger.n_placed == 0
    assert [record.name for record in Sweep(tmp_path).ledger.running] == [planned.name]
