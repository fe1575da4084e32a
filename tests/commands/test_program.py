"""The command `fervit`, in the code and installed from a wheel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from fervit.commands.program import HOMES
from fervit.commands.results import result_schema
from fervit.encoders.registry import KINDS
from fervit.version import __version__
from tests.conftest import ROOT
from tests.helpers.wheel import build_wheel, install_wheel

Ended = subprocess.CompletedProcess[str]


def fervit(*words: object, python: str | Path = sys.executable, cwd: Path | None = None) -> Ended:
    """Runs `python -m fervit`, with the fervit that this Python has installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-m", "fervit", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_it_names_each_script_of_launch_and_says_what_each_does() -> None:
    assert {path.stem for path in (ROOT / "launch").glob("*.py")} == HOMES.keys() - {"demo", "cluster", "schema"}
    ended = fervit("--help")
    assert ended.returncode == 0, ended.stderr
    for name in HOMES:
        assert f"\n  {name} " in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert fervit("--version").stdout == f"fervit {__version__}\n"


def test_a_command_is_called_by_its_name_and_a_wrong_one_is_one_line(tmp_path: Path) -> None:
    ended = fervit("evaluate", "--checkpoint-path", "x", cwd=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("fervit evaluate: error: ")
    assert "usage: fervit tune [-h]" in fervit("tune", "--help").stdout
    wrong = fervit("evalute")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "did you mean evaluate?" in wrong.stderr


def test_completions_know_commands_and_flags() -> None:
    for shell in ("bash", "zsh"):
        printed = fervit("completion", shell).stdout
        assert "--latent_test_dir" in printed
        assert "preprocess" in printed


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tune --space ", {"vit", "regularised", "demo", "mine.yaml", "spaces"}),
        ("tune --latents sp", {"spaces"}),
        ("encode --encoder_type ", set(KINDS)),
        ("encode --data_root m", {"mine.yaml"}),
        ("train --recipe ", {"guide", "strong"}),
        ("report ", {"mine.yaml", "spaces"}),
        ("train --lr ", set()),
        ("train --versi", {"--version"}),
    ],
)
def test_bash_completes_flags_and_their_values(line: str, offered: set[str], tmp_path: Path) -> None:
    folder, completion = tmp_path / "folder", tmp_path / "completion"
    (folder / "spaces").mkdir(parents=True)
    (folder / "mine.yaml").touch()
    completion.write_text(fervit("completion", "bash").stdout)
    asked = 'COMP_WORDS=(fervit "$@"); COMP_CWORD=$#; _shtab_fervit; echo "${COMPREPLY[@]}"'
    command = ["bash", "-c", f'. "{completion}"; {asked}', "bash", *line.split(" ")]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert set(ended.stdout.split()) == offered, ended.stderr


def test_the_cluster_files_are_written_once_and_never_over_others(tmp_path: Path) -> None:
    ended = fervit("cluster", "init", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert max(map(len, ended.stdout.splitlines())) <= 80
    folder = tmp_path / "fervit_cluster"
    check_cluster_files(folder)
    assert " 0 files" in fervit("cluster", "init", cwd=tmp_path).stdout
    (folder / "cluster.yaml").write_text("mine")
    (folder / "LICENSE").unlink()
    refused = fervit("cluster", "init", folder)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "cluster.yaml: there already" in refused.stderr
    assert ((folder / "cluster.yaml").read_text(), (folder / "LICENSE").exists()) == ("mine", False)
    assert " 2 files" in fervit("cluster", "init", folder, "--force").stdout
    check_cluster_files(folder)
    assert "is the folder of fervit's code" in fervit("cluster", "init", ROOT).stderr


def check_cluster_files(folder: Path) -> None:
    """Checks that Ray accepts the files, and that all that they copy to a node is there and whole."""
    for name in ("cluster.yaml", "clusters/local.yaml", "clusters/gcp.yaml"):
        config = yaml.safe_load((folder / name).read_text())
        validate_config(prepare_config(config))
        for source in config["file_mounts"].values():
            assert source == "~/.ray/auth_token" or (folder / source).exists(), source
    assert "--space" in fervit("tune", "--help", cwd=folder).stdout  # by the code in this folder
    for path in folder.rglob("*.py"):
        assert path.read_bytes() == (ROOT / path.relative_to(folder)).read_bytes()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ended]:
    """Runs the command of a wheel in an environment of its own, which sees the packages of this one, but no fervit."""
    python = install_wheel(tmp_path_factory.mktemp("wheel")) / "python"

    def run(*words: str, cwd: Path) -> Ended:
        return fervit(*words, python=python, cwd=cwd)

    return run


@pytest.mark.long
def test_a_wheel_has_all_that_the_commands_need(installed: Callable[..., Ended], tmp_path: Path) -> None:
    wrong = installed("tune", "--space", "vitt", cwd=tmp_path)
    assert "a space of fervit: demo, regularised, vit" in wrong.stderr
    missing = installed("tune", "--space", "vit", cwd=tmp_path)
    assert missing.returncode == 2
    assert "fervit encode" in missing.stderr
    assert "launch/" not in missing.stderr
    assert "`fervit demo`" in missing.stderr
    assert installed("cluster", "init", "here", cwd=tmp_path).returncode == 0
    check_cluster_files(tmp_path / "here")
    schema = installed("schema", "space", cwd=tmp_path).stdout
    assert schema == (ROOT / "search_spaces" / "space.schema.json").read_text()


@pytest.mark.extra
def test_the_source_distribution_is_whole(tmp_path: Path) -> None:
    """The wheel that is built from it has the content of the one that is built from the code."""
    build = [
        sys.executable,
        "-c",
        "from setuptools import build_meta; build_meta.build_sdist(__import__('sys').argv[1])",
    ]
    copy = tmp_path / "code"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().strip("\0").split("\0"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    subprocess.run([*build, tmp_path / "sdist"], cwd=copy, capture_output=True, check=True)
    (sdist,) = (tmp_path / "sdist").glob("fervit-*.tar.gz")
    of_sdist, of_code = (wheel_of(source, tmp_path / name) for name, source in (("one", sdist), ("two", copy)))
    assert of_sdist == of_code
    assert any(name.endswith("shipped/cluster.yaml") for name in of_sdist)
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in listed.decode().strip("\0").split("\0") if not name.startswith(".")} <= inside


@pytest.mark.long
def test_an_editable_installation_wins_over_a_folder_of_its_name(tmp_path: Path) -> None:
    """In the folder that holds the clone, `import fervit` finds the package and not the clone."""
    build = "import sys; from setuptools import build_meta; print(build_meta.build_editable(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("fervit-*.whl")
    site, holds = tmp_path / "site", tmp_path / "holds"
    shutil.unpack_archive(wheel, site, "zip")
    (holds / "fervit" / "fervit").mkdir(parents=True)
    code = f"import site; site.addsitedir({str(site)!r}); import fervit; print(fervit.__version__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=holds, env=environment, capture_output=True, text=True, check=False
    )
    assert said.stdout == f"{__version__}\n", said.stderr


def wheel_of(source: Path, folder: Path) -> dict[str, int]:
    """Builds a wheel, and returns the checksum of each of its files but for the list of them."""
    with zipfile.ZipFile(build_wheel(source, folder)) as archive:
        return {one.filename: one.CRC for one in archive.infolist() if not one.filename.endswith("RECORD")}


@pytest.mark.extra
def test_the_demo_of_a_wheel_ends_with_a_report_in_an_empty_folder(
    installed: Callable[..., Ended], tmp_path: Path
) -> None:
    ended = installed("demo", "--format", "json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    jsonschema.validate(json.loads(ended.stdout), result_schema("demo"), jsonschema.Draft202012Validator)
    (report,) = (tmp_path / "experiments").glob("demo_*/report.html")
    assert "fervit tune --space demo --latents latents/demo" in report.read_text()
