"""Three hosts with their own addresses on this machine, and a cluster on them, made by the YAML that users get."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.helpers.processes import PATIENCE, Running, wait_until

REPO = Path(__file__).parents[2]
HOSTS_SH = REPO.parent / "shared" / "tools" / "hosts.sh"
OPERATOR, HEAD = 0, 1
CPUS = 1
"""Of each host. This machine has two for all of them."""


def why_not() -> str:
    """Why there can be no hosts here; "" if there can."""
    if not HOSTS_SH.is_file():
        return f"{HOSTS_SH} is not here"
    if os.geteuid() != 0:
        return "hosts of their own need root"
    missing = [name for name in ("ip", "rsync", "ssh", "/usr/sbin/sshd", "nsenter") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def address(host: int) -> str:
    return f"10.77.0.{3 + host}"


def host_at(address: str) -> int:
    return int(address.rpartition(".")[2]) - 3


class Hosts:
    """The hosts fer0 (the operator's) to ferN, with `share` seen by all of them.

    Args:
        n: how many besides the operator's.
        share: a folder that all see; jobs run in it.
    """

    def __init__(self, n: int, share: Path) -> None:
        self.n, self.share = n, share
        python = Path(sys.base_prefix)
        self._environment = {
            **os.environ,
            "FER_SHARE": f"{REPO} {python} {share} {HOSTS_SH.parent}",
            "FER_PATH": str(REPO / ".venv" / "bin"),
        }

    def up(self) -> None:
        self._script("up", str(self.n))
        for host in range(1, self.n + 1):
            self._install(host)

    def down(self) -> None:
        self._script("down")

    def kill(self, host: int) -> None:
        self._script("kill", str(host))

    def cut(self, host: int) -> None:
        self._script("cut", str(host))

    def heal(self, host: int) -> None:
        self._script("heal", str(host))

    def start(self, host: int, command: Sequence[str] | str) -> Running:
        """A command on a host, in a login's environment; a text is given to its shell."""
        words = ["bash", "-c", command] if isinstance(command, str) else list(command)
        return Running(["bash", HOSTS_SH, "run", host, *words], env=self._environment)

    def run(self, host: int, command: Sequence[str] | str, patience: float = PATIENCE) -> tuple[int, str]:
        """The command's exit status and all that it printed."""
        process = self.start(host, command)
        printed = process.ended(patience)
        assert process.returncode is not None
        return process.returncode, printed

    def check(self, host: int, command: Sequence[str] | str, patience: float = PATIENCE) -> str:
        """What a command that succeeds printed."""
        status, printed = self.run(host, command, patience)
        assert status == 0, f"{command} ended with {status}:\n{printed[-3000:]}"
        return printed

    def _install(self, host: int) -> None:
        """What `node.sh setup` would install over a network: without one, this checkout's environment."""
        stamp = hashlib.sha256(b"".join((REPO / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")))
        self.check(
            host,
            "grep -q niceness ~/.bashrc || echo export RAY_worker_niceness=0 >>~/.bashrc; "  # as in tests/conftest.py
            f"mkdir -p ~/fervit && ln -sfn {REPO / '.venv'} ~/fervit/.venv && "
            f"echo '{stamp.hexdigest()}  -' >~/fervit/.installed",
        )

    def _script(self, *words: str) -> str:
        done = subprocess.run(
            ["bash", str(HOSTS_SH), *words], env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"hosts.sh {words}: {done.stdout}{done.stderr}"
        return done.stdout


class RayUp:
    """A Ray cluster on the hosts, started by `ray up` from clusters/local.yaml with these hosts' addresses.

    Args:
        hosts: that are up.
        file: the YAML that is written; all hosts see it.
        head: which host is the head; those after it are the workers.
    """

    def __init__(self, hosts: Hosts, file: Path, head: int = HEAD) -> None:
        self.hosts, self.file, self.head = hosts, file, head
        self.workers = list(range(head + 1, hosts.n + 1))
        self.printed = ""

    def up(self) -> None:
        config = yaml.safe_load((REPO / "clusters" / "local.yaml").read_text())
        config["provider"] |= {"head_ip": address(self.head), "worker_ips": [address(host) for host in self.workers]}
        config["auth"]["ssh_user"] = "root"
        # Each host would offer the CPUs and the memory of all of this machine.
        small = f" --num-cpus={CPUS} --object-store-memory=100000000"
        config["head_start_ray_commands"][-1] += small
        config["worker_start_ray_commands"][-1] += small
        config["setup_commands"] = [
            re.sub(r"FERVIT_SHARE=\S+", f"FERVIT_SHARE={self.hosts.share}", command)
            for command in config["setup_commands"]
        ]
        self.file.write_text(yaml.safe_dump(config))
        self.hosts.check(
            OPERATOR,
            "umask 077; ray get-auth-token --generate >/dev/null; "
            "grep -q AUTH ~/.bashrc || echo export RAY_AUTH_MODE=token >>~/.bashrc",
        )
        self.start()

    def start(self) -> None:
        """`ray up`, and again where a worker did not come, as the README says."""
        for _ in range(2):
            self.printed += self.hosts.check(OPERATOR, f"cd {REPO} && ray up -y --no-config-cache {self.file}")
            if self.wait_for(self.size, 120):
                return
        raise AssertionError(f"{self.alive()} nodes of {self.size} came up:\n{self.printed[-3000:]}")

    @property
    def size(self) -> int:
        return 1 + len(self.workers)

    def mend(self) -> None:
        """All cables in, all hosts on, all nodes there."""
        for host in range(1, self.hosts.n + 1):
            self.hosts.heal(host)
        self.hosts.up()
        if not self.wait_for(self.size, 120):
            self.start()

    def wait_for(self, nodes: int, patience: float) -> bool:
        """Whether so many nodes are alive within the time."""
        return wait_until(lambda: self.alive() == nodes, patience)

    def alive(self) -> int:
        """How many nodes the head counts."""
        _, printed = self.hosts.run(self.head, ["ray", "status"])
        active = printed.partition("Active:")[2].partition("Pending:")[0]
        return sum(int(count) for count in re.findall(r"^ (\d+) ", active, re.MULTILINE))

    def submit(self, name: str, command: str) -> None:
        """Starts a job from the operator's machine, which is then free to go, as the README says."""
        submit = f"ray job submit --no-wait --submission-id {name} -- python ~/fervit/launch/{command}"
        self.hosts.check(OPERATOR, ["ray", "exec", str(self.file), submit])

    def job(self, name: str, command: str, patience: float = PATIENCE) -> tuple[str, str]:
        """How a job ended, and what it printed."""
        self.submit(name, command)
        return self.ended(name, patience)

    def ended(self, name: str, patience: float = PATIENCE) -> tuple[str, str]:
        over = wait_until(lambda: self.over(name), patience)
        logs = self.logs(name)
        assert over, f"job {name} did not end in {patience} s:\n{logs[-3000:]}"
        return self.status(name), logs

    def over(self, name: str) -> bool:
        return self.status(name) in ("SUCCEEDED", "FAILED", "STOPPED")

    def status(self, name: str) -> str:
        _, printed = self.hosts.run(self.head, ["ray", "job", "status", name])
        return next(iter(re.findall(r"SUCCEEDED|FAILED|STOPPED|RUNNING|PENDING", printed.upper())), "")

    def logs(self, name: str) -> str:
        return self.hosts.run(self.head, ["ray", "job", "logs", name])[1]
