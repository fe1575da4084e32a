"""Handles the preemption of a node by its cloud: trials that run on the node save, and continue on another node.

    python -m fervit.cluster.preemption watch     runs on each node, and waits for the cloud's notice or for SIGTERM
    python -m fervit.cluster.preemption leave     gives notice by hand, or from a Kubernetes preStop hook

Clouds give notice 30 s (Google, Azure) to 120 s (AWS) before. fervit passes it on in two ways: it writes a file on the
node, which trials look for after each epoch, and it has Ray drain the node, so that nothing new is placed there.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

from fervit.io.disk import remove
from fervit.io.files import write_text

NOTICE = Path(tempfile.gettempdir(), f"fervit_leaving_{os.getuid()}")
GRACE_S = 60
"""A machine that is still running this long after the announced moment, in seconds, is taken to stay."""
POLL_S = 2.0
"""The pause between two questions to the cloud, in seconds."""
METADATA = "http://169.254.169.254"
"""The metadata server, from which a machine of a cloud learns about itself."""
AWS_S, OTHERS_S = 120, 30
"""The time in seconds between the notice and the preemption, on AWS and on other clouds."""


def is_leaving() -> bool:
    """Whether notice was given that this node will be preempted."""
    try:
        until = float(NOTICE.read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return False
    return time.time() < until + GRACE_S


def give_notice(why: str, seconds: int) -> None:
    """Gives notice that this node will be preempted.

    Args:
        why: the reason, for logs.
        seconds: the time until the preemption.
    """
    write_text(NOTICE, f"{time.time() + seconds:.0f} {why}\n")
    command = ["ray", "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", why]
    command += ["--deadline-remaining-seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:  # the trials save nevertheless
        print(f"ray drain-node: {(done.stderr or done.stdout).strip()[-300:]}", file=sys.stderr)  # noqa: T201


def cloud_notice() -> int | None:
    """Asks the cloud whether it will preempt this machine.

    Returns:
        The time until the preemption in seconds; None if there is no notice, or this is no machine of a cloud.
    """
    token = _ask("/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    if token is not None:
        return AWS_S if _ask("/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token}) else None
    preempted = _ask("/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return OTHERS_S if preempted == "TRUE" else None


def _ask(path: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """The answer of the metadata server; None if there is none."""
    request = urllib.request.Request(f"{METADATA}{path}", headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=POLL_S) as answer:
            text: str = answer.read().decode()
            return text
    except (urllib.error.URLError, OSError):
        return None


def watch() -> None:
    """Waits for a notice of the cloud or for SIGTERM, passes it on, and ends."""

    def terminated(number: int, frame: FrameType | None) -> None:
        give_notice("SIGTERM", OTHERS_S)
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, terminated)
    remove(NOTICE)  # from before a restart of this machine
    while (seconds := cloud_notice()) is None:
        time.sleep(POLL_S)
    give_notice("the cloud takes this machine away", seconds)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("watch", "leave"))
    parser.add_argument("--seconds", type=int, default=OTHERS_S, help="until the node goes (default: %(default)s)")
    args = parser.parse_args()
    if args.what == "watch":
        watch()
    else:
        give_notice("asked to leave", args.seconds)


if __name__ == "__main__":
    main()
