"""The files that users hand to `ray up` and kubectl."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from fervit.cluster.nodes import may_join
from tests.conftest import ROOT

FILES = ("cluster.yaml", "clusters/local.yaml", "clusters/gcp.yaml")


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return content


def commands(config: dict[str, Any]) -> str:
    return "\n".join(
        command
        for key, value in config.items()
        if key.endswith("_commands")
        for command in value
        if command != "ray stop"
    )


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_the_file(name: str) -> None:
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", FILES)
def test_a_slip_of_the_pen_is_refused(name: str) -> None:
    with pytest.raises(Exception, match="idle_timeout_minute"):
        validate_config(prepare_config({**read(name), "idle_timeout_minute": 5}))


@pytest.mark.parametrize("name", FILES)
def test_all_paths_that_the_file_names_are_there(name: str) -> None:
    config = read(name)
    mounts = config["file_mounts"]
    for there, here in mounts.items():
        assert here == "~/.ray/auth_token" or (ROOT / here).exists(), f"{there}: {here} is not there"
    for path in re.findall(r"~/fervit/(\S+)", commands(config)):
        assert (ROOT / path).is_file(), path
        assert any(f"~/fervit/{path}".startswith(there) for there in mounts), f"{path} is not copied"
    # What an installation needs of the code.
    wanted = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "fervit", "launch", "clusters"}
    assert wanted <= set(mounts.values())


@pytest.mark.parametrize("name", FILES)
def test_every_cluster_starts_with_the_token_and_a_dashboard_on_loopback(name: str) -> None:
    config = read(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert re.search(r"clusters/node\.sh\s+ray start ", config[key][-1])
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    assert "RAY_AUTH_TOKEN" not in commands(config)


def test_without_a_token_no_node_starts(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", ROOT / "clusters" / "node.sh", "ray", "start", "--head"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Ray would start open to the network" in done.stderr


@pytest.mark.parametrize("name", ["cluster.yaml", "clusters/gcp.yaml"])
def test_counts_agree(name: str) -> None:
    config = read(name)
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert max(t.get("max_workers", 0) for t in types.values()) <= config["max_workers"]
    assert all(t.get("min_workers", 0) <= t.get("max_workers", 0) for t in types.values())
    assert 0 < config["idle_timeout_minutes"] <= 15


def test_amazon_has_these_machines_in_that_place() -> None:
    config = read("cluster.yaml")
    provider, types = config["provider"], config["available_node_types"]
    assert provider["region"] in boto3.session.Session().get_available_regions("ec2")
    assert re.fullmatch(re.escape(provider["region"]) + "[a-f]", provider["availability_zone"])
    known = json.loads(
        gzip.decompress(files("moto.ec2.resources").joinpath("instance_types.json.gz").read_bytes())
    )  # Amazon's own list
    for node_type in types.values():
        machine = known[node_type["node_config"]["InstanceType"]]
        assert "x86_64" in machine["ProcessorInfo"]["SupportedArchitectures"]
        resources = node_type["resources"]
        if resources["CPU"]:
            assert resources["CPU"] == machine["VCpuInfo"]["DefaultVCpus"]
        gpus = sum(gpu["Count"] for gpu in machine.get("GpuInfo", {}).get("Gpus", []))
        assert resources.get("GPU", 0) == gpus
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert types["worker"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_every_field_of_the_main_file_has_its_comment() -> None:
    """A comment is on the line of a field or right above it. Lists of files and repeated fields need none."""
    lines, seen, bare = (ROOT / "cluster.yaml").read_text().splitlines(), set(), []
    for i, line in enumerate(lines):
        key = re.match(r" *(?:- )?([A-Za-z_]+):", line)
        if key is None or line.startswith("  ~") or key[1] in seen:
            continue
        seen.add(key[1])
        above = lines[i - 1].lstrip()
        if "#" not in line and not above.startswith("#"):
            bare.append(line.strip())
    assert [line for line in bare if not line.endswith(":")] == []  # of a group, its fields


def stub(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)


def test_what_a_node_does_before_it_starts_ray(tmp_path: Path) -> None:
    """The head mounts the shared folder, gives workers its own image, and lists the nodes that may join.

    The cloud, the mount and Ray are fakes that record calls.
    """
    home, programs, share = tmp_path / "home", tmp_path / "bin", tmp_path / "share"
    for folder in (home / ".ray", home / "fervit" / ".venv" / "bin", programs, share):
        folder.mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("secret-token")
    (home / "fervit" / ".venv" / "bin" / "python").symlink_to(sys.executable)
    config = prepare_config(read("cluster.yaml"))
    (home / "ray_bootstrap_config.yaml").write_text(json.dumps(config))
    stub(programs, "curl", 'case "$*" in *api/token*) echo session;; *ami-id*) echo ami-0123;; esac')
    stub(programs, "sudo", f'echo "$*" >>{tmp_path}/calls; [ "$1" = mount ] || exit 0')
    stub(programs, "mount.nfs", "")
    stub(programs, "ray", f'env >{tmp_path}/env; pwd >{tmp_path}/where; echo "$*" >>{tmp_path}/calls')
    environment = {"HOME": str(home), "PATH": f"{programs}:/usr/bin:/bin", "FERVIT_SHARE": str(share)}
    command = ["bash", str(ROOT / "clusters" / "node.sh"), "ray", "start"]
    done = subprocess.run(
        [*command, "--head"],
        env={**environment, "FERVIT_NFS": "server:/x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert f"mount -t nfs -o hard,timeo=600,noatime server:/x {share}" in calls
    assert calls[-1] == "start --head"
    assert Path((tmp_path / "where").read_text().strip()) == share
    started = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    assert started["RAY_AUTH_MODE"] == "token"
    assert "secret-token" not in (tmp_path / "env").read_text() + done.stdout + done.stderr
    written = json.loads((home / "ray_bootstrap_config.yaml").read_text())
    images = {t["node_config"]["ImageId"] for t in written["available_node_types"].values()}
    assert images == {"ami-0123"}
    nodes = list(may_join({"worker": 2}, started["FERVIT_NODE_TYPES"]))
    assert [(node.cpus, node.gpus, node.there) for node in nodes] == [(4, 1, False)] * 6


def test_a_node_whose_gpu_cannot_be_used_stays_out_and_a_head_goes_on_without_it(tmp_path: Path) -> None:
    """The look and Ray are fakes; `tests/cluster/test_gpus.py` has the look."""
    home, programs, share = tmp_path / "home", tmp_path / "bin", tmp_path / "share"
    for folder in (home / ".ray", home / "fervit" / ".venv" / "bin", programs, share):
        folder.mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("secret-token")
    stub(programs, "ray", f'echo "$*" >>{tmp_path}/calls')
    environment = {"HOME": str(home), "PATH": f"{programs}:/usr/bin:/bin", "FERVIT_SHARE": str(share)}

    def start(look: str, *args: str, **more: str) -> tuple[int, str, list[str]]:
        stub(home / "fervit" / ".venv" / "bin", "python", look)
        (tmp_path / "calls").write_text("")
        command = ["bash", str(ROOT / "clusters" / "node.sh"), "ray", "start", *args]
        done = subprocess.run(command, env=environment | more, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr, (tmp_path / "calls").read_text().splitlines()

    fails = 'echo "GPU: driver 470.1 is older than torch needs" >&2; exit 1'
    status, said, calls = start(fails, "--address=10.0.0.1:6379", RAY_HEAD_IP="10.0.0.1")
    assert (status, calls) == (1, [])
    assert "stays out: GPU: driver 470.1 is older than torch needs" in said
    status, said, calls = start(fails, "--head")
    assert (status, calls) == (0, ["start --head --num-gpus=0"])
    assert "the head goes on without its GPU: GPU: driver 470.1" in said
    assert start(fails, "--head", "--num-gpus=0") == (0, "", ["start --head --num-gpus=0"])
    assert start("exit 0", "--head") == (0, "", ["start --head"])  # no GPU here, or a good one
    status, said, calls = start("echo ModuleNotFoundError >&2; exit 1", "--head")
    assert (status, calls) == (0, ["start --head"])
    assert "no look at the GPU: ModuleNotFoundError" in said


def test_extras_of_the_files_are_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    for name in FILES:
        for extra in re.findall(r"FERVIT_EXTRAS=(\w+)", commands(read(name))):
            for requirement in project[extra]:
                assert re.match(r"[\w-]+", requirement)[0] in pinned, requirement  # type: ignore[index]


# --- KubeRay ---------------------------------------------------------------------------------------------------------

FIELDS = yaml.safe_load((Path(__file__).parent / "kuberay_fields.yaml").read_text())
TYPES: dict[str, Any] = {"string": str, "integer": int, "boolean": bool}


def mistakes(value: Any, kind: Any, path: str) -> Iterator[str]:
    """Returns where a manifest violates the schema of KubeRay's types."""
    if isinstance(kind, list):
        for i, each in enumerate(value if isinstance(value, list) else []):
            yield from mistakes(each, kind[0], f"{path}[{i}]")
        if not isinstance(value, list):
            yield f"{path}: not a list"
    elif isinstance(kind, str) and kind in FIELDS:
        fields = FIELDS[kind]
        if not isinstance(value, dict):
            yield f"{path}: not a mapping"
            return
        yield from (f"{path}.{key}: is missing" for key in fields.get("required", []) if key not in value)
        for key, inner in value.items():
            if key not in fields["fields"]:
                yield f"{path}.{key}: no such field"
            else:
                yield from mistakes(inner, fields["fields"][key], f"{path}.{key}")
    elif kind == "strings":
        if not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
            yield f"{path}: all values have to be strings"
    elif isinstance(kind, str) and kind.startswith("one of "):
        if value not in kind.removeprefix("one of ").split(", "):
            yield f"{path}: {value}"
    elif kind != "any" and (not isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
        yield f"{path}: not of type {kind}"


def test_the_rayjob_has_the_fields_of_kuberays_types() -> None:
    manifest = read("clusters/kuberay.yaml")
    assert list(mistakes(manifest, "RayJob", "")) == []
    cluster = manifest["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == next(
        line.removeprefix("ray==")
        for line in (ROOT / "constraints.txt").read_text().split()
        if line.startswith("ray==")
    )
    (workers,) = cluster["workerGroupSpecs"]
    look, main = (workers["template"]["spec"][kind][0] for kind in ("initContainers", "containers"))
    assert look["command"][:3] == ["python", "-m", "fervit.cluster.gpu_look"]
    assert look["resources"]["limits"]["nvidia.com/gpu"] == main["resources"]["limits"]["nvidia.com/gpu"]
    for command in re.findall(r"/home/ray/fervit/(\S+)", manifest["spec"]["entrypoint"]):
        assert (ROOT / command).is_file()


def test_mistakes_in_a_rayjob_are_found() -> None:
    manifest = read("clusters/kuberay.yaml")
    cluster = manifest["spec"]["rayClusterSpec"]
    cluster["autoscalerOption"] = cluster.pop("autoscalerOptions")
    cluster["workerGroupSpecs"][0]["maxReplicas"] = "8"
    cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    del cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    assert len(list(mistakes(manifest, "RayJob", ""))) == 4
