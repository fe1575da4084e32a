from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Command, write_splits


@pytest.fixture
def shared_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the folder of the test count as one that all nodes share, though it is below /tmp."""
    monkeypatch.setattr("fervit.slurm.submit.OWN_DISKS", ("/dev/shm",))
    monkeypatch.delenv("TMPDIR", raising=False)


@pytest.mark.usefixtures("shared_folder")
def test_the_script_is_shown_and_kept_without_a_slurm(command: Command, small_space: Path, tmp_path: Path) -> None:
    write_splits(tmp_path / "latents")
    given = ("--space", small_space, "--nodes", 2, "--cpus-per-node", 3, "--time", "04:00:00", "--set=search.trials=3")
    done = command("slurm", "tune", *given, "--print", "--", "--constraint=a100")
    assert done.status == 0, done.err
    (script,) = Path("experiments").glob("small_*/slurm/job.sh")
    assert script.read_text() in done.out
    assert "#SBATCH --constraint=a100" in done.out
    assert "#SBATCH --cpus-per-task=3" in done.out
    paths = [word for word in done.out.split() if word.endswith((".py", "/slurm.sh"))]
    assert [Path(path).name for path in paths if Path(path).is_file()] == ["slurm.sh", "tune.py"]
    sweep = script.parent.parent.absolute()
    assert f"--space {sweep}/slurm/space.yaml --set=search.trials=3 --resume {sweep}" in done.out
    assert (script.parent / "space.yaml").read_text() == small_space.read_text()
    status = command("slurm", "status", sweep)
    assert "not submitted yet: sbatch" in status.out


@pytest.mark.usefixtures("shared_folder")
def test_the_job_begins_in_the_folder_that_the_flags_of_the_command_name(
    command: Command, small_space: Path, tmp_path: Path
) -> None:
    write_splits(tmp_path / "latents")
    words = ("--latent_train_dir", "latents/train", "--latent_val_dir", "latents/val", "--time", "10", "--print")
    for given, found in (
        (("tune", "--space", small_space, "--output_dir", "sweeps", *words[4:]), "sweeps/small_*"),
        (("train", *words, "--output_dir", "runs"), "runs/latent_vit_*"),
        (("train", *words, "--checkpoint_dir", "checkpoints", "--experiment_name", "mine"), "checkpoints/mine/*"),
    ):
        done = command("slurm", *given)
        assert done.status == 0, done.err
        (folder,) = Path().glob(found)
        assert f"--resume {folder.absolute()}" in done.out
        assert (folder / "slurm" / "job.sh").is_file()
    assert not Path("experiments").exists()


@pytest.mark.usefixtures("shared_folder")
def test_a_script_that_the_user_changed_is_kept(command: Command, small_space: Path, tmp_path: Path) -> None:
    write_splits(tmp_path / "latents")
    given = ("tune", "--space", small_space, "--time", 10, "--print")
    assert command("slurm", *given).status == 0
    (script,) = Path("experiments").glob("small_*/slurm/job.sh")
    written = script.read_text()
    again = ("--resume", script.parent.parent)
    assert "is kept as" not in command("slurm", *given, *again).out  # it is the same
    assert not script.with_name("job.sh.1").exists()
    for n in (1, 2):
        script.write_text(f"{written}# mine, {n}\n")
        assert f"the earlier script is kept as {script}.{n}" in command("slurm", *given, *again).out
        assert script.with_name(f"job.sh.{n}").read_text() == f"{written}# mine, {n}\n"
        assert script.read_text() == written


@pytest.mark.usefixtures("shared_folder")
def test_a_search_may_be_submitted_before_its_codes_are_there(command: Command, small_space: Path) -> None:
    done = command("slurm", "tune", "--space", small_space, "--time", 10, "--after", 12, "--print")
    assert done.status == 0, done.err
    assert "sbatch --dependency=afterok:12 --kill-on-invalid-dep=yes " in done.out
    assert "dependency" not in next(Path("experiments").glob("small_*/slurm/job.sh")).read_text()  # it goes on alone


@pytest.mark.usefixtures("shared_folder")
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("tune --space small.yaml --time 4h", "--time 4h: must be"),
        ("tune --space small.yaml --time 10 --latents /dev/shm", "is a disk of each node's own"),
        ("tune --space small.yaml --time 10 --latents nowhere", "no latents here"),
        ("tune --space small.yaml --time 10 --cpus_per_node 2 --set trial.cpus=4", "needs 4 CPUs"),
        ("tune --space small.yaml --time 10 --sett x", "there is no flag --sett; did you mean --set?"),
        ("tune --space small.yaml --time 10 --address a:1", "do not go with a job"),
        ("tune --space small.yaml --time 10 --resume nowhere", "there is no such folder"),
        ("tune --space small.yaml --time 10", "no Slurm here: sinfo is not on the PATH"),
        ("tune --space small.yaml --time 10 --nodes 1 --gpus_per_node 4 --set trial.workers=8", "8 workers of 1 CPUs"),
        ("tune --space small.yaml --time 10 --after encode", "--after encode: must be the number of a job"),
        ("tune --space small.yaml --time 3", "leaves less than 120 s"),
        ("train --time 10", "--latent_train_dir: is missing"),
        ("train --time 10 --latent_train_dir nowhere --latent_val_dir latents/val", "nowhere: there is no such file"),
        (
            "train --time 10 --workers 8 --cpus_per_node 4 --latent_train_dir latents/train --latent_val_dir latents",
            "--workers: 8 workers of 1 CPUs",
        ),
        ("encode --time 10 --latent_out out --data_root nowhere", "--data_root nowhere: there is no such file"),
        (
            "encode --time 10 --latent_out out --data_root latents --encoder_model x.pt",
            "--encoder_model x.pt: there is",
        ),
        ("encode --time 10", "the following arguments are required: --latent_out"),
        ("status nowhere", "has no slurm/"),
        ("stop", "invalid choice"),
    ],
)
def test_mistakes_are_told_in_a_line_before_anything_waits(
    command: Command, small_space: Path, monkeypatch: pytest.MonkeyPatch, flags: str, says: str, tmp_path: Path
) -> None:
    write_splits(tmp_path / "latents")
    which = shutil.which
    monkeypatch.setattr("shutil.which", lambda name: None if name == "sinfo" else which(name))
    done = command("slurm", *flags.split())
    assert done.status == 2
    assert says in done.err
    assert done.err.count("\n") == 1
    assert not list(Path("experiments").glob("*"))
