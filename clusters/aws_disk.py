"""The shared disk of a cluster on AWS: attaches the EBS volume of a name to this machine, and makes it the first time.

    python aws_disk.py fervit:200     prints the device; run on the head (clusters/node.sh)

The volume outlives heads and clusters: a new head in the same zone finds it by its name.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

METADATA = "http://169.254.169.254/latest"
WAIT_S = 600
"""For an old head to let go of the disk."""


def find_or_make(ec2: Any, name: str, gib: int, zone: str) -> str:
    """The id of the volume of this name in a zone.

    Raises:
        SystemExit: there are several.
    """
    filters = [
        {"Name": "tag:Name", "Values": [name]},
        {"Name": "availability-zone", "Values": [zone]},
        {"Name": "status", "Values": ["creating", "available", "in-use"]},
    ]
    ids = [volume["VolumeId"] for volume in ec2.describe_volumes(Filters=filters)["Volumes"]]
    if len(ids) > 1:
        raise SystemExit(f"volumes {', '.join(ids)} are all named {name}: rename all but the one with your data")
    if ids:
        return str(ids[0])
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": name}]}]
    made = ec2.create_volume(AvailabilityZone=zone, Size=gib, VolumeType="gp3", Encrypted=True, TagSpecifications=tags)
    return str(made["VolumeId"])


def attach(ec2: Any, volume: str, machine: str, wait_s: float = WAIT_S) -> None:
    """Attaches a volume to a machine, once another one has let go of it.

    Raises:
        SystemExit: another machine keeps it.
    """
    until = time.monotonic() + wait_s
    while True:
        (found,) = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
        holders = [each["InstanceId"] for each in found["Attachments"]]
        if machine in holders:
            return
        if found["State"] == "available":
            break
        if time.monotonic() > until:
            raise SystemExit(f"volume {volume} is held by {', '.join(holders)}: end that machine, then `ray up` again")
        time.sleep(5)
    ec2.attach_volume(VolumeId=volume, InstanceId=machine, Device="/dev/sdf")
    ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume])


def main() -> None:
    import boto3

    name, _, gib = sys.argv[1].partition(":")
    token = _ask("/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    machine, zone = (
        _ask(f"/meta-data/{key}", {"X-aws-ec2-metadata-token": token})
        for key in ("instance-id", "placement/availability-zone")
    )
    ec2 = boto3.client("ec2", region_name=zone[:-1])
    volume = find_or_make(ec2, name, int(gib), zone)
    attach(ec2, volume, machine)
    device = Path(f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}")
    until = time.monotonic() + 60
    while not device.exists():  # the kernel takes a moment
        if time.monotonic() > until:
            raise SystemExit(f"{device} did not appear")
        time.sleep(1)
    print(device)


def _ask(path: str, headers: dict[str, str], method: str = "GET") -> str:
    request = urllib.request.Request(METADATA + path, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        text: str = answer.read().decode()
        return text


if __name__ == "__main__":
    main()
