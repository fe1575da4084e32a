"""cluster.yaml and the shared disk on moto's EC2, from a host without any other network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.helpers.hosts import OPERATOR, REPO, Hosts, wait_until

PORT = 5000
SETTINGS = {
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-west-2",
    "AWS_EC2_METADATA_DISABLED": "true",
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
}
WORKER = """
import sys, yaml
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE
config = _bootstrap_config(prepare_config(yaml.safe_load(open(sys.argv[1]))), no_config_cache=True)
provider = _get_node_provider(config["provider"], config["cluster_name"])
for node_type in sys.argv[2:]:  # as the head's autoscaler does
    node_config = config["available_node_types"][node_type]["node_config"]
    provider.create_node(node_config, {TAG_RAY_USER_NODE_TYPE: node_type}, 1)
"""
LOOK = """
import boto3, json
ec2 = boto3.client("ec2")
machines = [each for r in ec2.describe_instances()["Reservations"] for each in r["Instances"]]
for machine in machines:
    ids = [disk["Ebs"]["VolumeId"] for disk in machine["BlockDeviceMappings"]]
    machine["Disks"] = ec2.describe_volumes(VolumeIds=ids)["Volumes"]
print(json.dumps(machines, default=str))
"""


@pytest.fixture
def amazon(hosts: Hosts) -> Iterator[str]:
    """The prefix of a command on the operator's machine that directs it to moto's EC2, which the fixture starts there.

    moto gives machines real addresses of AWS, to which Ray connects, so the host must not reach any network.
    """
    assert hosts.run(OPERATOR, ["ip", "route", "get", "54.214.0.1"])[0] != 0
    settings = " ".join(f"{name}={value}" for name, value in SETTINGS.items())
    server = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{PORT}'])"
    process = hosts.start(OPERATOR, f'{settings} exec python -c "{server}" >/dev/null 2>&1')
    assert wait_until(lambda: hosts.run(OPERATOR, f"curl -s -o /dev/null http://127.0.0.1:{PORT}/moto-api/")[0] == 0)
    yield settings
    hosts.run(OPERATOR, "pkill -f moto.server")
    process.ended()


@pytest.mark.hosts
def test_machines_are_asked_for_as_written(hosts: Hosts, amazon: str) -> None:
    hosts.check(
        OPERATOR,
        "umask 077; ray get-auth-token --generate >/dev/null; "
        "[ -e ~/.ssh/fervit.pem ] || ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/fervit.pem; "
        f"""{amazon} python -c "import boto3; boto3.client('ec2').create_key_pair(KeyName='fervit')" """,
    )

    def machines() -> dict[str, dict[str, Any]]:
        found = json.loads(hosts.check(OPERATOR, f"{amazon} python -c '{LOOK}'").splitlines()[-1])
        return {next(tag["Value"] for tag in m["Tags"] if tag["Key"] == "ray-user-node-type"): m for m in found}

    up = hosts.start(OPERATOR, f"cd {REPO} && {amazon} timeout 600 ray up -y --no-config-cache cluster.yaml")
    try:
        assert wait_until(lambda: "head" in machines())
    finally:
        up.kill()
        hosts.run(OPERATOR, "pkill -f 'ray up'")
    script = hosts.share / "worker.py"
    script.write_text(WORKER)
    hosts.check(OPERATOR, f"cd {REPO} && {amazon} python {script} cluster.yaml worker")

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    made = machines()
    assert set(made) == {"head", "worker"}
    for name, machine in made.items():
        written = config["available_node_types"][name]["node_config"]
        for key in ("InstanceType", "KeyName", "ImageId"):
            assert machine[key] == written[key]
        assert machine["Placement"]["AvailabilityZone"] == config["provider"]["availability_zone"]
        assert [disk["Size"] for disk in machine["Disks"]] == [
            disk["Ebs"]["VolumeSize"] for disk in written["BlockDeviceMappings"]
        ]
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
        # The permissions of a machine in the account: the head may start other machines, and a worker may do nothing.
        assert ("IamInstanceProfile" in machine) == (name == "head")
        assert [group["GroupName"] for group in machine["SecurityGroups"]] == ["ray-autoscaler-fervit"]
    assert made["worker"]["InstanceLifecycle"] == "spot"
    assert made["head"].get("InstanceLifecycle") != "spot"
