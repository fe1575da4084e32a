"""Runs `ray up` on three hosts with their own addresses, and the commands on the cluster that it makes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fervit.images.index import open_faces
from fervit.latents import LatentSet
from tests.helpers.host_sweeps import Standstill, epochs_of, epochs_told, folder_of, write_space
from tests.helpers.hosts import OPERATOR, REPO, RayUp, address, wait_until
from tests.helpers.sweeps import leaderboard

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1800)]


def test_the_token_is_everywhere_and_nowhere_to_be_read(ray_up: RayUp) -> None:
    assert ray_up.alive() == 3
    token = ray_up.hosts.check(OPERATOR, "cat ~/.ray/auth_token").strip()
    assert len(token) > 20
    assert token not in ray_up.printed
    for host in (1, 2, 3):
        assert ray_up.hosts.check(host, "stat -c %a ~/.ray/auth_token").strip() == "600"
        seen = ray_up.hosts.check(host, "ps axww -o args; cat /tmp/ray/session_latest/logs/*.* ~/.bashrc")
        assert "raylet" in seen
        assert token not in seen


def test_whoever_has_no_token_is_refused(ray_up: RayUp) -> None:
    gcs = f"{address(1)}:6379"
    look = f"ray status --address {gcs}"
    assert "3 local.cluster.node" in ray_up.hosts.check(OPERATOR, look)
    for mode in ("disabled", "token"):
        stranger = f"mkdir -p /tmp/stranger; HOME=/tmp/stranger RAY_AUTH_MODE={mode} timeout 60 {look}"
        status, printed = ray_up.hosts.run(OPERATOR, stranger)
        assert status != 0
        assert "local.cluster.node" not in printed
    ask = "curl -s -o /dev/null -w '%{http_code}' --max-time 300 "
    # The dashboard listens only on the head, and its interface needs the token there as well.
    assert ray_up.hosts.run(OPERATOR, ask + f"http://{address(1)}:8265/api/version")[1] == "000"
    assert ray_up.hosts.run(1, ask + "http://127.0.0.1:8265/api/jobs/")[1] == "401"
    assert ray_up.hosts.run(1, ask + '-H "Authorization: Bearer wrong" http://127.0.0.1:8265/api/jobs/')[1] == "403"
    with_token = '-H "Authorization: Bearer $(cat ~/.ray/auth_token)" http://127.0.0.1:8265/api/jobs/'
    assert ray_up.hosts.run(1, ask + with_token)[1] == "200"


def test_faces_are_encoded_on_every_host(ray_up: RayUp, encoded: str) -> None:
    assert "encoded 300 images" in encoded
    by_machine = next(line for line in encoded.splitlines() if line.startswith("by machine: "))
    parts = [part.split() for part in by_machine.removeprefix("by machine: ").split(", ")]
    assert [name for name, _ in parts] == ["fer1", "fer2", "fer3"]
    assert all(int(n) > 0 for _, n in parts)  # how many depends on how busy this machine is
    assert sum(int(n) for _, n in parts) == 300
    splits = [LatentSet.read(str(ray_up.hosts.share / "latents" / split)) for split in ("train", "val", "test")]
    ids = [image_id for split in splits for image_id in split.image_ids]
    assert len(ids) == len(set(ids)) == 300


def test_faces_are_cut_out_on_every_host(ray_up: RayUp, shared: Path) -> None:
    for i, face in enumerate(open_faces(str(shared / "data" / "fer2013_train_val.csv.gz")).limited(120).stream()):
        canvas = Image.new("RGB", (900, 900), (120, 130, 140))
        canvas.paste(Image.fromarray(face.pixels).resize((420, 420)), (240, 200))
        path = ray_up.hosts.share / "raw" / "train" / "happy" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.save(path)
    shutil.copy(shared / "data" / "yunet" / "yunet_n_dynamic.onnx", ray_up.hosts.share / "yunet.onnx")
    status, printed = ray_up.job("cut", "preprocess.py --input_dir raw --output_dir cut --face_detector yunet.onnx")
    assert status == "SUCCEEDED", printed
    by_machine = next(line for line in printed.splitlines() if line.startswith("by machine: "))
    assert [name for name in ("fer1", "fer2", "fer3") if name not in by_machine] == []
    assert len(open_faces(str(ray_up.hosts.share / "cut")).table) > 100


@pytest.mark.usefixtures("encoded")
def test_a_sweep_uses_all_hosts(ray_up: RayUp) -> None:
    write_space(ray_up.hosts.share, "twelve", epochs=4, scheduler="none")
    ray_up.submit("twelve", "tune.py --space twelve.yaml --latents latents")
    trials = Standstill(ray_up.hosts, "twelve")
    assert trials.reached(3, lambda: ray_up.over("twelve")), ray_up.logs(
        "twelve"
    )  # the last host's process takes a while to start
    trials.release()
    status, printed = ray_up.ended("twelve")
    assert status == "SUCCEEDED", printed
    assert "cluster: 3 nodes, 3 CPUs, 0 GPUs; 3 trials at once" in printed
    assert "ray dashboard" in printed
    folder = folder_of(ray_up.hosts.share, "twelve")
    assert folder is not None
    rows = leaderboard(folder)
    assert sorted(int(row["trial"]) for row in rows) == list(range(12))
    assert not any(row["failure"] for row in rows)
    assert {event["node"] for event in epochs_of(folder)} == {address(host) for host in (1, 2, 3)}
    assert (folder / "report.html").is_file()
    assert json.loads((folder / "environment.json").read_text())["cluster"] == {"nodes": 3, "cpus": 3, "gpus": 0}


@pytest.mark.usefixtures("encoded")
def test_a_sweep_outlives_the_laptop_and_is_stopped_and_resumed(ray_up: RayUp) -> None:
    share = ray_up.hosts.share
    write_space(share, "long", trials=4, scheduler="none", epochs=4000)
    command = "tune.py --space long.yaml --latents latents --resume"
    ray_up.submit("long", command)  # nothing on the operator's machine knows of it any more
    assert wait_until(lambda: epochs_told(share, "long") >= 6), ray_up.logs("long")
    ray_up.hosts.check(OPERATOR, ["ray", "exec", str(ray_up.file), "ray job stop long"])
    status, printed = ray_up.ended("long")
    assert status == "STOPPED"
    assert "Interrupted: 4 of 4 trials begun" in printed
    before = epochs_told(share, "long")
    ray_up.submit("again", command)
    assert wait_until(lambda: epochs_told(share, "long") >= before + 3), ray_up.logs("again")
    ray_up.hosts.check(1, ["ray", "job", "stop", "again"])
    assert ray_up.ended("again")[0] == "STOPPED"
    folder = folder_of(share, "long")
    assert folder is not None
    curves: dict[str, list[int]] = {}
    for event in epochs_of(folder):
        curves.setdefault(event["name"], []).append(event["row"]["epoch"])
    for curve in curves.values():  # saved when the job was stopped: no epoch was trained twice
        assert curve == list(range(1, len(curve) + 1))


@pytest.mark.usefixtures("encoded")
def test_one_training_runs_on_two_hosts(ray_up: RayUp) -> None:
    arguments = "--epochs 2 --workers 2 --depth 1 --embed_dim 64 --mlp_dim 64 --heads 4"
    status, printed = ray_up.job(
        "ddp", f"train.py --latent_train_dir latents/train --latent_val_dir latents/val {arguments}"
    )
    assert status == "SUCCEEDED", printed
    assert "finished after 2 epochs" in printed
    (folder,) = (ray_up.hosts.share / "experiments").glob("latent_vit_*")
    assert (folder / "checkpoints" / "best_model.pt").is_file()
    on = next(line for line in printed.splitlines() if line.startswith("model: "))
    assert len([host for host in ("fer1", "fer2", "fer3") if host in on]) == 2


@pytest.mark.usefixtures("encoded")
def test_a_disk_of_each_nodes_own_is_refused_before_the_first_trial(ray_up: RayUp) -> None:
    share = ray_up.hosts.share
    write_space(share, "own")
    for command in (
        f"tune.py --space {share}/own.yaml --latents {share}/latents",
        f"train.py --latent_train_dir {share}/latents/train --latent_val_dir {share}/latents/val",
        f"encode.py --data_root {share}/faces --latent_out codes --encoder_type demo",
    ):
        status, printed = ray_up.hosts.run(
            1, f"mkdir -p /tmp/own && cd /tmp/own && RAY_ADDRESS=auto python ~/fervit/launch/{command}"
        )
        assert status == 2, printed
        last = printed.splitlines()[-1]
        assert f"node {address(2)}" in last or f"node {address(3)}" in last
        assert "/tmp/own" in last
        assert "share" in last
    assert ray_up.hosts.run(1, "ls -A /tmp/own/experiments 2>/dev/null")[1] == ""


AUTOSCALED = """
import os, subprocess, sys
from ray.cluster_utils import AutoscalingCluster, FAKE_HEAD_NODE_ID
module = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
provider = {"type": "external", "module": module, "head_node_id": FAKE_HEAD_NODE_ID, "launch_multiple": True}
provider |= {"use_node_id_as_ip": True, "disable_node_updaters": True, "disable_launch_config_check": True}
types = {"worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}}
head = {"ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
config = {"cluster_name": "fake", "max_workers": 2, "idle_timeout_minutes": 1, "provider": provider, "auth": {}}
commands = ("setup", "head_setup", "worker_setup", "initialization", "head_start_ray", "worker_start_ray")
config |= {f"{name}_commands": [] for name in commands} | {"file_mounts": {}, "upscaling_speed": 1, "docker": {}}
config["cluster_synced_files"] = []
config |= {"available_node_types": types | head, "head_node_type": "ray.head.default"}
# This class, and the provider by its own name, want a file that the wheel of Ray lacks.
AutoscalingCluster._generate_config = lambda self, *given, **more: config
cluster = AutoscalingCluster({"CPU": 0}, {}, autoscaler_v2=True)
cluster.start()
said = "{worker: {resources: {CPU: 1}, max_workers: 2}}"  # as node.sh does on the head of a cluster
settings = {"RAY_ADDRESS": "auto", "FERVIT_NODE_TYPES": said}
done = subprocess.run([sys.executable, *sys.argv[1:]], env={**os.environ, **settings})
cluster.shutdown()
sys.exit(done.returncode)
"""


@pytest.mark.usefixtures("encoded")
def test_a_sweep_starts_the_machines_that_it_needs(ray_up: RayUp) -> None:
    """The cluster has no workers while nothing runs. It is on the operator's host, which has a Ray of its own."""
    share = ray_up.hosts.share
    write_space(share, "scaled", trials=4, epochs=4, scheduler="none")
    script = share / "autoscaled.py"
    script.write_text(AUTOSCALED)
    tune = "~/fervit/launch/tune.py --space scaled.yaml --latents latents".replace("~/fervit", str(REPO))
    sweep = ray_up.hosts.start(OPERATOR, f"cd {share} && python {script} {tune}")
    trials = Standstill(ray_up.hosts, "scaled", on=OPERATOR)
    assert trials.reached(2, lambda: sweep.returncode is not None), (
        sweep.printed
    )  # the first machine waits for the second
    trials.release()
    printed = sweep.ended()
    assert sweep.returncode == 0, printed
    assert "cluster: 1 node, with the 2 that can join, 2 CPUs, 0 GPUs; 2 trials at once" in printed
    assert "4 finished" in printed
    folder = folder_of(share, "scaled")
    assert folder is not None
    assert len({event["pid"] for event in epochs_of(folder)}) == 2
