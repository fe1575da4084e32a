"""The settings of a local Ray: what the process may use, and a folder that can hold Ray's sockets. Starts no Ray."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fervit.cluster import local_ray
from fervit.cluster.nodes import Cluster, Node
from fervit.system import surroundings


def test_ray_takes_the_cpus_and_the_memory_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_OVERRIDE_RESOURCES", raising=False)
    monkeypatch.setattr(local_ray, "usable_cpus", lambda: 3)
    monkeypatch.setattr(local_ray, "memory_limit", lambda: 8_000_000_000)
    settings, _ = local_ray.local_settings()
    assert settings["num_cpus"] == 3
    assert settings["object_store_memory"] + settings["_memory"] < 8_000_000_000
    monkeypatch.setattr(local_ray, "memory_limit", lambda: None)
    assert "_memory" not in local_ray.local_settings()[0]


def test_a_user_may_leave_the_dashboard_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(local_ray.DASHBOARD, "0")
    assert local_ray.local_settings()[0]["include_dashboard"] is False
    monkeypatch.delenv(local_ray.DASHBOARD)
    assert "include_dashboard" not in local_ray.local_settings()[0]
    node = Node(address="127.0.0.1", cpus=2, gpus=0)
    alone = Cluster(nodes=(node,), dashboard="http://127.0.0.1:8265", started_here=True)
    assert alone.watch == "http://127.0.0.1:8265"
    assert replace(alone, nodes=(node, node)).watch.startswith("http://127.0.0.1:8265 on the head (`ray dashboard")
    assert replace(alone, dashboard=None).watch == "no Ray dashboard"


@pytest.mark.parametrize("name", ["x" * 105, "名前"])
def test_another_folder_is_chosen_and_said_where_tmpdir_does_not_suit_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / name))
    folder, remark = local_ray.temporary_folder()
    assert folder is not None
    assert len(folder) <= local_ray.LONGEST_PATH
    assert str(tmp_path / name) in remark
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert local_ray.temporary_folder() == (None, "")


def test_without_a_home_that_can_be_written_to_the_token_stays_in_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")  # put back after the test
    local_ray.local_settings()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_user_without_an_entry_gets_a_name_and_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(surroundings, "_has_entry", lambda: False)
    surroundings.complete()
    assert os.environ["USER"] == f"uid{os.getuid()}"
    assert Path(os.environ["HOME"]).stat().st_uid == os.getuid()
