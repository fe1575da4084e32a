"""A node that its cloud is about to take away: what runs there is told to save, and goes on elsewhere.

    python -m fervit.cluster.preemption watch     on each node, beside Ray: waits for the cloud's notice, or for SIGTERM
    python -m fervit.cluster.preemption leave     gives notice by hand, or from a Kubernetes preStop hook

Clouds give 30 s (Google, Azure) to 120 s (AWS). A notice is a file on the node, which trials look for after each epoch,
and Ray's draining of the node, after which nothing new is placed there.
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

from fervit.files import write_text

NOTICE = Path(tempfile.gettempdir(), f"fervit_leaving_{os.getuid()}")
GRACE_S = 60
"""After the moment for which it was announced, a machine that is still there stays."""
POLL_S = 2.0
METADATA = "http://169.254.169.254"
"""Where clouds tell a machine about itself."""
AWS_S, OTHERS_S = 120, 30


def is_leaving() -> bool:
    """Whether this node has been given notice."""
    try:
        until = float(NOTICE.read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return False
    return time.time() < until + GRACE_S


def give_notice(why: str, seconds: int) -> None:
    """Tells what runs on this node that it is about to go, in so many seconds."""
    write_text(NOTICE, f"{time.time() + seconds:.0f} {why}\n")
    command = ["ray", "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", why]
    command += ["--deadline-remaining-seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:  # the trials save all the same
        print(f"ray drain-node: {(done.stderr or done.stdout).strip()[-300:]}", file=sys.stderr)  # noqa: T201


def cloud_notice() -> int | None:
    """Seconds until the cloud takes this machine away, where it says so; else None."""
    token = _ask("/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    if token is not None:
        return AWS_S if _ask("/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token}) else None
    preempted = _ask("/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return OTHERS_S if preempted == "TRUE" else None


def _ask(path: str, headers: dict[str, str], method: str = "GET") -> str | None:
    request = urllib.request.Request(f"{METADATA}{path}", headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=POLL_S) as answer:
            text: str = answer.read().decode()
            return text
    except (urllib.error.URLError, OSError):
        return None


def watch() -> None:
    """Waits for a notice, passes it on and ends."""

    def terminated(number: int, frame: FrameType | None) -> None:
        give_notice("SIGTERM", OTHERS_S)
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, terminated)
    NOTICE.unlink(missing_ok=True)  # of an earlier life of this machine
    while (seconds := cloud_notice()) is None:
        time.sleep(POLL_S)
    give_notice("the cloud takes this machine away", seconds)


def main() -> None:
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
