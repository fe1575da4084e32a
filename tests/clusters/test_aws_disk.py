"""The shared disk of a cluster on AWS, with moto in place of AWS."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import boto3
import pytest

from tests.conftest import ROOT


@pytest.fixture
def aws_disk() -> ModuleType:
    spec = importlib.util.spec_from_file_location("aws_disk", ROOT / "clusters" / "aws_disk.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_new_head_finds_the_disk_of_the_old_one(aws_disk: ModuleType, moto_server: str, tmp_path: Path) -> None:
    ec2 = boto3.client("ec2", region_name="us-west-2")
    zone = "us-west-2a"
    machines = [
        ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, Placement={"AvailabilityZone": zone})
        for _ in range(2)
    ]
    old, new = (machine["Instances"][0]["InstanceId"] for machine in machines)
    volume = aws_disk.find_or_make(ec2, "fervit", 200, zone)
    (made,) = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
    assert (made["Size"], made["Encrypted"], made["VolumeType"]) == (200, True, "gp3")
    aws_disk.attach(ec2, volume, old)
    aws_disk.attach(ec2, volume, old)  # `ray up` once more
    assert aws_disk.find_or_make(ec2, "fervit", 200, zone) == volume
    assert aws_disk.find_or_make(ec2, "fervit", 200, "us-west-2b") != volume
    with pytest.raises(SystemExit, match=f"held by {old}"):
        aws_disk.attach(ec2, volume, new, wait_s=0)
    ec2.terminate_instances(InstanceIds=[old])
    aws_disk.attach(ec2, volume, new)
    (kept,) = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
    assert [each["InstanceId"] for each in kept["Attachments"]] == [new]
    ec2.create_volume(
        AvailabilityZone=zone,
        Size=1,
        TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "fervit"}]}],
    )
    with pytest.raises(SystemExit, match="are all named fervit"):
        aws_disk.find_or_make(ec2, "fervit", 200, zone)
