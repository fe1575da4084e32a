"""What Prometheus, the panels of Grafana and the Ray dashboard show while a sweep runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ray
import yaml
from playwright.sync_api import Browser, Page

from fervit.cluster.nodes import Cluster
from fervit.search.records.events import EpochEnded
from fervit.search.records.history import History
from fervit.search.records.journal import read_journal
from fervit.search.records.sweep_folder import SweepFolder
from tests.conftest import GRAFANA, ROOT, SMALL_SPACE, write_splits
from tests.helpers.processes import wait_until


class Running(NamedTuple):
    """A sweep that runs in a process of its own."""

    folder: Path
    cluster: Cluster

    def history(self) -> History:
        return History(read_journal(SweepFolder(self.folder).journal))

    def states(self) -> Counter[str]:
        return Counter(record.state for record in self.history().records.values())


@pytest.fixture(scope="module")
def sweep(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sweep of which one trial has failed, and two run until the tests have ended."""
    folder = tmp_path_factory.mktemp("watched")
    raw: dict[str, Any] = yaml.safe_load(SMALL_SPACE)
    raw["name"] = "watched"
    raw["search"] = {"sampler": "grid", "trials": 4, "seed": 1}
    raw["early_stopping"] = {"scheduler": "none", "max_epochs": 100_000}
    raw["parameters"] = {"lr": {"values": [1e30, 1e-3, 2e-3, 3e-3]}}
    raw["fixed"] |= {"embed_dim": 8, "heads": 2, "batch_size": 2}
    path = folder / "watched.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    address = ray.get_runtime_context().gcs_address
    process = subprocess.Popen(
        [sys.executable, ROOT / "launch" / "tune.py", "--space", path, "--latents", write_splits(folder / "latents")],
        cwd=folder,
        env={**os.environ, "RAY_ADDRESS": address, "RAY_AUTH_MODE": "token"},
        stdout=(folder / "out").open("w"),
        stderr=subprocess.STDOUT,
    )

    def begun() -> bool:
        found = list(folder.glob("experiments/watched_*/trials.jsonl"))
        if not found:
            return False
        states = Running(found[0].parent, cluster).states()
        return states["failed"] == 1 and states["running"] >= 2

    try:
        assert wait_until(begun), (folder / "out").read_text()
        (made,) = folder.glob("experiments/watched_*")
        yield Running(made, cluster)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with the configuration that Ray writes for it, which collects metrics every second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("there is no prometheus; apt-get install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    config = yaml.safe_load((session / "metrics" / "prometheus" / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        for found in job["file_sd_configs"]:  # written for whichever session is the latest
            found["files"] = [str(session / "prom_metrics_service_discovery.json")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=(folder / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def ask(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """Returns the current value of an expression: the labels and the value of each series."""
    url = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(url, timeout=300) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result
    except OSError:
        return []


@pytest.mark.extra
def test_grafanas_panels_have_their_values_during_a_sweep(prometheus: str, sweep: Running) -> None:
    panels = {panel["title"]: panel for panel in json.loads(GRAFANA.read_text())["panels"]}

    def shown(title: str) -> dict[tuple[str, ...], float]:
        (target,) = panels[title]["targets"]
        found = ask(prometheus, target["expr"].replace("$sweep", sweep.folder.name))
        return {
            tuple(value for name, value in sorted(series["metric"].items()) if name != "sweep"): float(
                series["value"][1]
            )
            for series in found
        }

    assert wait_until(lambda: shown("Trials by state").get(("running",), 0) >= 2)
    assert wait_until(lambda: bool(shown("Epochs a second")))
    for state, n in sweep.states().items():
        assert shown("Trials by state")[(state,)] == n
    assert shown("Failures by kind") == {("diverged",): 1}
    best = max(
        row.f1_macro for record in sweep.history().records.values() for row in record.epochs if record.state != "failed"
    )
    for title in ("Best value on validation", "Best value over time"):
        assert 0 < shown(title)[()] <= best + 1e-9

    # The rate of the counter is about that of the epochs in the journal.
    def rate() -> float:
        events = [e for e in read_journal(SweepFolder(sweep.folder).journal) if isinstance(e, EpochEnded)]
        recent = [e for e in events if e.time > time.time() - 30]
        return len(recent) / 30

    assert wait_until(lambda: 0.3 * rate() < shown("Epochs a second")[()] < 3 * rate())
    if not sweep.cluster.gpus:
        assert shown("GPU share that trials hold") == {}


@pytest.mark.extra
def test_the_ray_dashboard_shows_the_sweep(sweep: Running, browser: Browser, tmp_path: Path) -> None:
    token = Path("~/.ray/auth_token").expanduser().read_text().strip()
    page: Page = browser.new_page(viewport={"width": 1500, "height": 1000})
    page.set_default_timeout(300_000)
    page.goto(f"{sweep.cluster.dashboard}/#/jobs")
    page.get_by_placeholder("Enter your authentication token").fill(token)
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("launch/tune.py").first.wait_for()
    page.screenshot(path=tmp_path / "jobs.png")
    page.goto(f"{sweep.cluster.dashboard}/#/actors")
    page.get_by_text(re.compile("LatentTrial")).first.wait_for()
    page.screenshot(path=tmp_path / "actors.png")
    names = page.locator("table").last.inner_text()
    assert "ALIVE" in names
    assert "ImplicitFunc" not in names  # what Ray Tune would call them
    page.goto(f"{sweep.cluster.dashboard}/#/cluster")
    page.get_by_text("ALIVE").first.wait_for()
    assert re.search(r"\d+(\.\d+)?%", page.locator("table").last.inner_text())  # the CPUs' load
    page.screenshot(path=tmp_path / "cluster.png")
    page.close()
