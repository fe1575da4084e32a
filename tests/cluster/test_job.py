from __future__ import annotations

from pathlib import Path

import pytest

from fervit.cluster.job import JOB_FOLDER, job_name
from fervit.runs.folder import RunFolder
from fervit.search.records.sweep_folder import SweepFolder


def test_a_command_knows_its_job_and_which_start_of_it_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    assert job_name() == ""
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    assert job_name() == "slurm 1234, start 1"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert job_name() == "slurm 1234, start 3"


@pytest.mark.parametrize(("kind", "begun"), [(SweepFolder, "sweep.yaml"), (RunFolder, "config.json")])
def test_a_folder_that_was_made_for_a_job_stays_though_its_command_failed(
    tmp_path: Path, kind: type[SweepFolder] | type[RunFolder], begun: str
) -> None:
    for name in ("new", "of_a_job"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ray.log").touch()
    (tmp_path / "of_a_job" / JOB_FOLDER).mkdir()
    for name in ("new", "of_a_job"):
        kind(tmp_path / name).remove_if_new()
    assert [path.name for path in tmp_path.iterdir()] == ["of_a_job"]

    folder = kind(tmp_path / "of_a_job")
    prepared = folder.is_prepared if isinstance(folder, SweepFolder) else lambda: folder.prepared
    assert prepared()
    (folder.path / begun).touch()
    assert not prepared()
