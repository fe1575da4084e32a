from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.slurm.jobs import gpu_hours, starts_of
from fervit.slurm.script import CLUSTER_SCRIPT, JobFiles, Request, batch_script
from fervit.slurm.share import share_of_job
from fervit.slurm.submit import check_shared, submit
from fervit.slurm.times import checked_limit, seconds_of


def request(**changes: object) -> Request:
    wanted = {"name": "fervit-vit", "nodes": 2, "cpus_per_node": 8, "gpus_per_node": 0, "time": "00:30:00"}
    return Request(**{**wanted, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("04:00", 240),
        ("04:00:00", 14400),
        ("2-12", 216000),
        ("1-02:03", 93780),
        ("1-00:00:05", 86405),
        ("4h", None),
        ("", None),
        ("4:00:00:00", None),
    ],
)
def test_time_limits_are_read_as_slurm_reads_them(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "says"),
    [("4h", "must be hours"), ("00:00", "must be"), ("03", "less than 120 s"), ("02:30", "four minutes")],
)
def test_a_limit_that_leaves_no_time_to_work_is_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        checked_limit(text, save_before=120)
    assert checked_limit("04:00:00", save_before=120) == 14400
    assert checked_limit("3", save_before=60) == 180


def test_what_only_this_machine_sees_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", "/scratch/job_1")
    for path in ("/tmp/latents", "/dev/shm", "/scratch/job_1/latents"):
        with pytest.raises(UserError, match=f"--latents {path}: .* is a disk of each node's own"):
            check_shared("--latents", path)
    for path in ("/home/me/latents", "s3://bucket/latents"):
        check_shared("--latents", path)
    monkeypatch.setattr("fervit.slurm.submit.OWN_DISKS", ("/dev/shm",))
    (tmp_path / "latents").symlink_to("/dev/shm")
    with pytest.raises(UserError, match="/dev/shm is a disk of each node's own"):
        check_shared("--latents", tmp_path / "latents")


@pytest.mark.parametrize("headline", ["", "Welcome to the cluster | today | maintenance\n"])
def test_the_job_is_submitted_without_the_variables_of_the_one_in_which_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, headline: str
) -> None:
    program = tmp_path / "sbatch"
    program.write_text(
        f'#!/bin/bash\nenv >"{tmp_path}/env"; echo "$*" >"{tmp_path}/asked"\nprintf "{headline}"; echo "12;main"\n'
    )
    program.chmod(0o755)
    given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "100"}
    for name, value in {**given, "SLURM_CONF": "/etc/slurm.conf"}.items():
        monkeypatch.setenv(name, value)
    files = JobFiles(tmp_path)
    assert submit(files, after="5:6") == "12"
    seen = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert [name for name in seen if name.startswith("SLURM_")] == ["SLURM_CONF"]
    assert "--dependency=afterok:5:6" in (tmp_path / "asked").read_text()


def test_the_script_can_be_read_by_bash_and_by_sbatch(tmp_path: Path) -> None:
    files = JobFiles(tmp_path / "my sweep")
    files.path.mkdir(parents=True)
    wanted = request(gpus_per_node=4, mem="64G", account="chem", sbatch=("--constraint=a100", "--comment=for the talk"))
    command = ["/venv/bin/python", "tune.py", "--set", "search.trials=3; rm -rf x"]
    files.script.write_text(batch_script(wanted, files, command, tmp_path))
    assert subprocess.run(["bash", "-n", files.script], check=False).returncode == 0
    assert subprocess.run(["bash", "-n", CLUSTER_SCRIPT], check=False).returncode == 0
    lines = files.script.read_text().splitlines()
    for flag in ("--nodes=2", "--gres=gpu:4", "--mem=64G", "--account=chem", "--signal=B:USR1@120", "--requeue"):
        assert f"#SBATCH {flag}" in lines
    assert '#SBATCH "--comment=for the talk"' in lines
    assert lines[-1].startswith("exec bash ")
    assert lines[-1].endswith("--set 'search.trials=3; rm -rf x'")


@pytest.mark.parametrize(
    ("given", "cpus", "gpus", "memory"),
    [
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "2000"}, 1, 0, 2000),
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_CPU": "500", "CUDA_VISIBLE_DEVICES": "2,3"}, 1, 2, 500),
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "1G", "CUDA_VISIBLE_DEVICES": ""}, 1, 0, 1024),
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_GPUS_ON_NODE": "4", "SLURM_MEM_PER_NODE": "1"}, 1, 4, 1),
    ],
)
def test_ray_gets_what_slurm_gave_and_no_more(given: dict[str, str], cpus: int, gpus: int, memory: int) -> None:
    share = share_of_job(given)
    assert (share.cpus, share.gpus, share.memory) == (cpus, gpus, memory * 2**20)
    flags = share.flags(shm_free=2**40)
    assert f"--num-cpus={cpus}" in flags
    assert f"--num-gpus={gpus}" in flags


def test_without_a_word_from_slurm_a_node_gives_the_cpus_of_the_process() -> None:
    assert share_of_job({}).cpus == len(os.sched_getaffinity(0))


def test_the_gpu_hours_are_those_of_all_starts(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    began = '{{"time": {}, "job": "7", "restart": {}, "event": "began", "nodes": 2, "gpus": 4, "host": "a"}}\n'
    path.write_text(
        began.format(0, 0)
        + '{"time": 1800, "job": "7", "restart": 0, "event": "paused"}\n'
        + began.format(3600, 1)  # whose node died
        + began.format(7200, 2)
        + '{"time": 7200, "job": "7", "restart": 2, "event": "ended", "status": 0}\n'
    )
    starts = starts_of(path)
    assert [start.how for start in starts] == ["paused", "cut off", "ended with status 0"]
    assert gpu_hours(starts, running=False) == pytest.approx(8 * 1.5)
    assert starts_of(tmp_path / "missing") == []
