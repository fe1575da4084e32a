from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from fervit.cluster.nodes import Cluster
from tests.conftest import Ended
from tests.helpers.processes import wait_until


def scrape() -> dict[str, float]:
    """Returns `name{labels}` -> value of fervit's metrics, as Prometheus reads them from the node of this machine."""
    node = next(node for node in ray.nodes() if node["Alive"])
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=300) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith("ray_fervit_")}


def value(metrics: dict[str, float], name: str, *labels: str) -> float | None:
    found = [v for key, v in metrics.items() if key.startswith(name) and all(label in key for label in labels)]
    return found[0] if found else None


@pytest.mark.long
def test_a_sweep_and_an_encoding_job_are_seen_by_prometheus(
    command: Callable[..., Ended], cluster: Cluster, demo_faces: Path, latents_folder: Path, small_space: Path
) -> None:
    assert command("encode", "--data_root", demo_faces, "--latent_out", "codes", "--encoder_type", "demo").status == 0
    ended = command("tune", "--space", small_space, "--latents", latents_folder, "--set", "search.trials=4")
    assert ended.status == 0, ended.err
    (folder,) = Path("experiments").glob("small_*")
    label = f'sweep="{folder.name}"'
    events = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    states = [event["state"] for event in events if event["event"] == "end"]
    epochs = sum(event["event"] == "epoch" for event in events)
    # Ray exports every ten seconds.
    assert wait_until(lambda: value(scrape(), "ray_fervit_epochs_total", label) == epochs)
    assert wait_until(lambda: value(scrape(), "ray_fervit_trials", label, 'state="running"') == 0)
    metrics = scrape()
    for state in ("finished", "stopped", "failed"):
        assert value(metrics, "ray_fervit_trials", label, f'state="{state}"') == states.count(state)
    assert value(metrics, "ray_fervit_trials", label, 'state="running"') == 0
    best = max(event["best_value"] for event in events if event["event"] == "epoch")
    assert value(metrics, "ray_fervit_best_value", label) == pytest.approx(best)
    codes = f'folder="{Path("codes").absolute()}"'
    assert value(metrics, "ray_fervit_images_encoded_total", codes) == 77
