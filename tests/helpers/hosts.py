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
"""The CPUs of each host. This machine has two for all of them."""


def why_not() -> str:
    """Returns why this machine cannot make hosts; "" if it can."""
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
    """The hosts fer0 (the operator's machine) to ferN, which share a folder.

    Args:
        n: the number of hosts besides the operator's machine.
        share: the shared folder, in which jobs run.
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
        """Starts a command on a host, in the environment of a login. A string is passed to the shell."""
        words = ["bash", "-c", command] if isinstance(command, str) else list(command)
        return Running(["bash", HOSTS_SH, "run", host, *words], env=self._environment)

    def run(self, host: int, command: Sequence[str] | str, patience: float = PATIENCE) -> tuple[int, str]:
        """Runs a command, and returns its exit status and its output."""
        process = self.start(host, command)
        printed = process.ended(patience)
        assert process.returncode is not None
        return process.returncode, printed

    def check(self, host: int, command: Sequence[str] | str, patience: float = PATIENCE) -> str:
        """Runs a command that must succeed, and returns its output."""
        status, printed = self.run(host, command, patience)
        assert status == 0, f"{command} ended with {status}:\n{printed[-3000:]}"
        return printed

    def _install(self, host: int) -> None:
        """Installs this checkout's environment, which `node.sh setup` would download if there were a network."""
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
        hosts: the hosts.
        file: the path of the YAML file that is written, in the shared folder.
        head: the number of the head; the hosts after it are the workers.
    """

    def __init__(self, hosts: Hosts, file: Path, head: int = HEAD) -> None:
        self.hosts, self.file, self.head = hosts, file, head
        self.workers = list(range(head + 1, hosts.n + 1))
        self.printed = ""

    def up(self) -> None:
        config = yaml.safe_load((REPO / "clusters" / "local.yaml").read_text())
        config["provider"] |= {"head_ip": address(self.head), "worker_ips": [address(host) for host in self.workers]}
        config["auth"]["ssh_user"] = "root"
        # Without these limits, each host would offer all CPUs and all memory of this machine.
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
        """Runs `ray up`, and again if a worker did not start, as docs/cluster.md says."""
        for _ in range(2):
            self.printed += self.hosts.check(OPERATOR, f"cd {REPO} && ray up -y --no-config-cache {self.file}")
            if self.wait_for(self.size, 120):
                return
        raise AssertionError(f"{self.alive()} nodes of {self.size} came up:\n{self.printed[-3000:]}")

    @property
    def size(self) -> int:
        return 1 + len(self.workers)

    def mend(self) -> None:
        """Connects and starts all hosts, and waits until all nodes are alive."""
        for host in range(1, self.hosts.n + 1):
            self.hosts.heal(host)
        self.hosts.up()
        if not self.wait_for(self.size, 120):
            self.start()

    def wait_for(self, nodes: int, patience: float) -> bool:
        """Waits until n nodes are alive, and returns whether they were in time."""
        return wait_until(lambda: self.alive() == nodes, patience)

    def alive(self) -> int:
        """Returns the number of nodes that the head counts as alive."""
        _, printed = self.hosts.run(self.head, ["ray", "status"])
        active = printed.partition("Active:")[2].partition("Pending:")[0]
        return sum(int(count) for count in re.findall(r"^ (\d+) ", active, re.MULTILINE))

    def submit(self, name: str, command: str) -> None:
        """Submits a job from the operator's machine, which is not needed afterwards, as docs/cluster.md says."""
        submit = f"ray job submit --no-wait --submission-id {name} -- python ~/fervit/launch/{command}"
        self.hosts.check(OPERATOR, ["ray", "exec", str(self.file), submit])

    def job(self, name: str, command: str, patience: float = PATIENCE) -> tuple[str, str]:
        """Runs a job, and returns how it ended and its output."""
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
