"""launch/doctor.py as a user types it, and what it says about folders in which a job would fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fervit.diagnosis import machine
from fervit.diagnosis.machine import examine_gpu
from fervit.diagnosis.paths import examine_latents, examine_source, examine_target
from fervit.diagnosis.ray_setup import examine_folder
from tests.conftest import Command


def test_a_machine_on_which_all_is_well_fills_one_screen_and_shows_no_secret(
    command: Command, latents_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    ended = command("doctor", "--latents", latents_folder, "--latent_out", tmp_path / "codes", "--output-dir", tmp_path)
    topics = [line[:15].strip() for line in ended.out.splitlines()]
    for topic in ("versions", "CPUs", "memory", "GPUs", "Ray's folder", "ports", "latents", "latent_out", "output_dir"):
        assert topic in topics
    assert len(topics) < 30
    assert "usable (" in ended.out
    assert "affinity" in ended.out
    assert "cgroup" in ended.out
    assert "very-secret" not in ended.out
    assert not (tmp_path / "codes").exists()
    # What is wrong with the machine that runs the tests, such as its free memory, is not for this test to judge.
    problems = ended.out.count("PROBLEM: ")
    assert ended.status == (1 if problems else 0)
    assert ended.out.splitlines()[-1].startswith(f"{problems} problem" if problems else "nothing found")


def test_what_would_fail_later_is_said_with_a_way_out_and_status_1(command: Command, tmp_path: Path) -> None:
    (tmp_path / "page.pt").write_text("<html>quota</html>")
    ended = command("doctor", "--latents", "nowhere", "--encoder_ckpt", "page.pt", "--latent_out", "s3://me:key@b/x")
    assert ended.status == 1
    assert "nowhere" in ended.out
    assert "there is no such file or folder" in ended.out
    assert "is a web page (HTML)" in ended.out
    assert "s3://..." in ended.out
    assert "me:key" not in ended.out
    assert ended.out.count("PROBLEM: ") >= 3


def test_folders_are_tried_before_a_job_uses_them(tmp_path: Path) -> None:
    good = examine_target("output_dir", str(tmp_path / "a" / "b"))
    assert "will be made" in good.text
    assert good.problem == ""
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert "is a file" in examine_target("output_dir", str(tmp_path / "file")).problem
    assert examine_source("faces", str(tmp_path)).problem == ""
    assert "no train and val there" in examine_latents(str(tmp_path)).problem
    sealed = Path("/proc/1")  # nobody can write there
    assert "cannot be written to by you" in examine_target("output_dir", str(sealed)).problem


def test_a_folder_in_which_ray_cannot_start_is_found(tmp_path: Path) -> None:
    assert "too long for Ray's sockets" in examine_folder(tmp_path / ("x" * 80) / "ray").problem
    if os.getuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        assert "belongs to" in examine_folder(tmp_path / "ray").problem
        tmp_path.chmod(0o700)


def test_gpus_that_are_hidden_are_no_problem() -> None:
    assert examine_gpu().problem == ""


def test_a_driver_that_does_not_answer_is_a_finding_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LOOK", "import time; time.sleep(60)")
    monkeypatch.setattr(machine, "LOOK_S", 1)
    assert examine_gpu().problem == "torch has not answered for 1 s; see `nvidia-smi`, or restart the machine"
