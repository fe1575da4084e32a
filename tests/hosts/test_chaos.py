"""Hosts die, are cut off from the network or are taken away during a sweep. `make chaos` runs these slow tests.

Each test adds a line with its measurements, which is printed at the end of the session.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fervit.io.json_lines import read_rows
from fervit.latents import LatentSet
from fervit.search.records.sweep_folder import SweepFolder
from tests.helpers.host_sweeps import Standstill, epochs_of, folder_of, write_space
from tests.helpers.hosts import RayUp, address, wait_until
from tests.helpers.sweeps import leaderboard

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600), pytest.mark.usefixtures("encoded")]

TRIALS, EPOCHS = 6, 40
ALL = f"{TRIALS} of {TRIALS} finished"
VICTIM = 3
Measured = Callable[[str], None]


@pytest.fixture(autouse=True)
def whole_cluster(ray_up: RayUp) -> Iterator[None]:
    ray_up.mend()
    yield
    for job in re.findall(r"submission_id='(\w+)'.*?status=<JobStatus.RUNNING", ray_up.hosts.run(1, "ray job list")[1]):
        ray_up.hosts.run(1, ["ray", "job", "stop", job])


def begin_sweep(cluster: RayUp, name: str) -> tuple[str, Standstill]:
    """Starts a sweep, and pauses its trials once trials on every host have reported and saved epochs."""
    write_space(cluster.hosts.share, name, trials=TRIALS, scheduler="none", epochs=EPOCHS)
    command = f"tune.py --space {name}.yaml --latents latents --resume"
    cluster.submit(name, command)
    trials = Standstill(cluster.hosts, name)
    assert trials.reached(3, lambda: cluster.over(name), saved=3), cluster.logs(name)
    return command, trials


def assert_whole(cluster: RayUp, name: str) -> None:
    """Checks that the journal has every trial once, with all its epochs."""
    folder = folder_of(cluster.hosts.share, name)
    assert folder is not None
    rows = leaderboard(folder)
    assert sorted(int(row["trial"]) for row in rows) == list(range(TRIALS))
    assert {row["state"] for row in rows} == {"finished"}
    events = epochs_of(folder)
    for row in rows:
        curve = [e["row"]["epoch"] for e in events if e["name"] == f"trial_{int(row['trial']):04d}"]
        assert curve[-1] == EPOCHS
        assert set(curve) == set(range(1, EPOCHS + 1))


def on_host(folder: Path, host: int) -> str:
    """Returns the trial that was the last to report an epoch on this host."""
    name: str = [event for event in epochs_of(folder) if event["node"] == address(host)][-1]["name"]
    return name


def lost(folder: Path, name: str) -> dict[str, Any]:
    """Returns the journal's only event of a trial whose process died, with its `time` and `why`."""
    (event,) = [e for e in read_rows(SweepFolder(folder).journal) if e["event"] == "lost" and e["name"] == name]
    return event


def went_on(folder: Path, name: str, host: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the last epoch that a trial reported on a host, and its first one on another host after that."""
    events = [event for event in epochs_of(folder) if event["name"] == name]
    last = max(i for i, event in enumerate(events) if event["node"] == address(host))
    return events[last], events[last + 1]


def lose(cluster: RayUp, name: str, how: Callable[[int], None]) -> tuple[float, str]:
    """Removes a host in the middle of a sweep, which must end whole.

    Returns the seconds until the loss was noticed, and a text on how the trial continued.
    """
    _, trials = begin_sweep(cluster, name)
    folder = folder_of(cluster.hosts.share, name)
    assert folder is not None
    trial, gone = on_host(folder, VICTIM), time.time()
    how(VICTIM)
    trials.release()
    status, printed = cluster.ended(name)
    assert status == "SUCCEEDED", printed
    assert_whole(cluster, name)
    assert f"{trial} goes on after epoch" in printed
    before, after = went_on(folder, trial, VICTIM)
    assert 1 < after["row"]["epoch"] <= before["row"]["epoch"] + 1  # from its checkpoint, not from the start
    noticed = lost(folder, trial)["time"] - gone
    return noticed, (
        f"noticed after {noticed:.1f} s; its trial, at epoch {before['row']['epoch']}, went on with epoch "
        f"{after['row']['epoch']} elsewhere after {after['time'] - gone:.0f} s; {ALL}"
    )


def test_a_host_is_killed_in_a_sweep(ray_up: RayUp, measured: Measured) -> None:
    noticed, what = lose(ray_up, "killed", ray_up.hosts.kill)
    assert noticed < 30
    measured(f"host killed in a sweep: {what}")


def test_a_host_is_killed_while_faces_are_encoded(ray_up: RayUp, measured: Measured) -> None:
    share = ray_up.hosts.share
    ray_up.hosts.check(
        1, f"cd {share} && python ~/fervit/launch/demo_faces.py --output_dir many --train 200 --val 10 --test 5"
    )
    command = "encode.py --data_root many --latent_out many_codes --encoder_type demo"
    ray_up.submit("many", command)
    assert wait_until(lambda: len(list(share.glob("many_codes/train/part-*"))) >= 3), ray_up.logs("many")
    ray_up.hosts.kill(VICTIM)
    before = len(list(share.glob("many_codes/train/part-*")))
    rows = len(LatentSet.read(str(share / "many_codes" / "train")))
    assert rows < 7 * 200
    status, printed = ray_up.ended("many")
    assert status == "SUCCEEDED", printed
    ids = [i for split in ("train", "val", "test") for i in LatentSet.read(str(share / "many_codes" / split)).image_ids]
    assert len(ids) == len(set(ids)) == 7 * 215
    measured(
        f"host killed while encoding, after {rows} rows in {before} parts: the job ended by itself, {len(ids)} rows, "
        "each once"
    )


def test_a_cable_is_cut_for_20_s(ray_up: RayUp, measured: Measured) -> None:
    _, trials = begin_sweep(ray_up, "short")
    folder = folder_of(ray_up.hosts.share, "short")
    assert folder is not None
    name = on_host(folder, VICTIM)
    cut = time.time()
    ray_up.hosts.cut(VICTIM)
    trials.release()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        assert ray_up.alive() == 3
        time.sleep(1)
    ray_up.hosts.heal(VICTIM)
    status, printed = ray_up.ended("short")
    assert status == "SUCCEEDED", printed
    assert_whole(ray_up, "short")
    assert ray_up.alive() == 3
    events = [event for event in epochs_of(folder) if event["name"] == name]
    assert [event["row"]["epoch"] for event in events] == list(range(1, EPOCHS + 1))  # nothing tried again
    assert {event["node"] for event in events} == {address(VICTIM)}
    stall = min(event["time"] for event in events if event["time"] > cut) - cut
    assert 20 <= stall < 120  # the cut was one
    measured(f"cable cut for 20 s: its trial stalled for {stall:.0f} s and went on, no retry; the node was kept")


def test_a_cable_is_cut_for_good(ray_up: RayUp, measured: Measured) -> None:
    noticed, what = lose(ray_up, "cut", ray_up.hosts.cut)
    assert 20 < noticed < 120
    measured(f"cable cut for good: {what}")


def test_a_spot_machine_is_given_notice_and_taken_away(ray_up: RayUp, measured: Measured) -> None:
    _, trials = begin_sweep(ray_up, "spot")
    folder = folder_of(ray_up.hosts.share, "spot")
    assert folder is not None
    name, told = on_host(folder, VICTIM), time.time()
    ray_up.hosts.check(VICTIM, "pkill -TERM -f 'fervit.cluster.preemption watch'")
    trials.release()

    def moved_away() -> bool:
        return any(e["event"] == "lost" and e["name"] == name for e in read_rows(SweepFolder(folder).journal))

    assert wait_until(moved_away), ray_up.logs("spot")
    notice = ray_up.hosts.check(VICTIM, "cat /tmp/fervit_preemption.log /tmp/fervit_leaving_0")
    assert "SIGTERM" in notice
    assert "ray drain-node" not in notice  # it says so only where that failed
    ray_up.hosts.kill(VICTIM)
    status, printed = ray_up.ended("spot")
    assert status == "SUCCEEDED", printed
    assert_whole(ray_up, "spot")
    events = [event for event in epochs_of(folder) if event["name"] == name]
    assert [event["row"]["epoch"] for event in events] == list(
        range(1, EPOCHS + 1)
    )  # saved first: nothing trained twice
    # The notice moved the trial after its next epoch, and nothing was trained on the host afterwards.
    moved = lost(folder, name)
    assert moved["why"].startswith("node leaves")
    assert moved["time"] < told + 120  # what the shortest notice of a cloud leaves, and a machine under load
    there = [event["time"] for event in epochs_of(folder) if event["node"] == address(VICTIM)]
    assert max(there) <= moved["time"]
    _, after = went_on(folder, name, VICTIM)
    measured(
        f"spot notice, {moved['time'] - told:.0f} s later its trial had saved, and went on with epoch "
        f"{after['row']['epoch']} elsewhere {after['time'] - told:.0f} s after the notice; none trained twice; {ALL}"
    )


def test_the_head_is_killed_and_a_new_one_goes_on(ray_up: RayUp, measured: Measured) -> None:
    command, trials = begin_sweep(ray_up, "beheaded")
    folder = folder_of(ray_up.hosts.share, "beheaded")
    assert folder is not None
    ray_up.hosts.kill(1)
    trials.release()
    told = len(epochs_of(folder))
    killed = time.time()
    second = RayUp(ray_up.hosts, ray_up.hosts.share / "second.yaml", head=2)
    second.up()
    started = time.time()
    status, printed = second.job("beheaded2", command)
    assert status == "SUCCEEDED", printed
    assert f"going on with {folder}" in printed
    assert_whole(ray_up, "beheaded")
    events = epochs_of(folder)
    again = len(events) - TRIALS * EPOCHS
    first = events[told]
    measured(
        f"head killed after {told} epochs: a new head and its worker were up after {started - killed:.0f} s, the same "
        f"command's first epoch came after {first['time'] - killed:.0f} s; {again} epochs were trained again; "
        f"{ALL}"
    )
    second.hosts.run(2, ["ray", "stop", "--force"])
    second.hosts.run(3, ["ray", "stop", "--force"])
