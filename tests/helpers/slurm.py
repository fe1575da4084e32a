"""A real Slurm on the hosts that this machine makes: slurmctld on the operator's host, a slurmd on each other."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from fervit.io.json_lines import read_rows
from tests.helpers.hosts import OPERATOR, REPO, Hosts, address, wait_until, why_not
from tests.helpers.processes import PATIENCE

CPUS, MEMORY = 4, 4000
"""What each host offers to Slurm. This machine has less for all of them, which slows them down and nothing else."""
USERS = {"ada": 20001, "ben": 20002}
CONF = """
ClusterName=fervit
SlurmctldHost=fer0({head})
SlurmUser=root
AuthType=auth/munge
# A job that was requeued waits until the credentials of its last start have expired: 120 s, where nobody says less.
AuthInfo=cred_expire=5
CredType=cred/munge
MpiDefault=none
# Containers have no cgroups to give away, so Slurm neither binds processes nor limits their memory here.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=300
# Where others keep the cores busy, a batch script starts late. After 10 s Slurm takes it for lost and requeues the job.
BatchStartTimeout=120
KillWait=30
# By default a job is forgotten five minutes after its end.
MinJobAge=86400
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%h.log
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
"""


def why_no_slurm() -> str:
    """Returns why this machine cannot run a Slurm; "" if it can."""
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name) is None]
    return why_not() or (f"not installed: {', '.join(missing)} (slurm-wlm, munge)" if missing else "")


class Slurm:
    """A Slurm on the hosts. Its processes end with the hosts.

    Args:
        hosts: the hosts, which must be up. Their shared folder must not be below /tmp.
    """

    def __init__(self, hosts: Hosts) -> None:
        self.hosts, self.share = hosts, hosts.share
        self.folder = self.share / "slurm_conf"

    def up(self) -> None:
        self.share.chmod(0o755)
        (self.folder / "state").mkdir(parents=True)
        nodes = "\n".join(
            f"NodeName=fer{i} NodeAddr={address(i)} CPUs={CPUS} RealMemory={MEMORY} Gres=gpu:2"
            for i in range(1, self.hosts.n + 1)
        )
        conf = self.folder / "slurm.conf"
        conf.write_text(CONF.format(head=address(OPERATOR), folder=self.folder, nodes=nodes))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # which is then not looked for
        gpus = ("/dev/null", "/dev/zero")  # which Slurm gives away as if they were some
        (self.folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in gpus))
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        self._write_users()
        self._prepare(OPERATOR)
        self.hosts.check(OPERATOR, f"slurmctld -f {conf}")
        for host in range(1, self.hosts.n + 1):
            self.join(host)
        assert wait_until(lambda: self.run("sinfo -h -o %T").split() == ["idle"], 120), self.run("sinfo -N -l")

    def join(self, host: int) -> None:
        """Starts a host's slurmd, also after the host was off."""
        self._prepare(host)
        self.hosts.check(host, f"slurmd -f {self.folder}/slurm.conf")

    def run(self, command: str, user: str = "root", cwd: Path | None = None) -> str:
        """Runs a command on the operator's host as a user, and returns its output."""
        status, printed = self.attempt(command, user, cwd)
        assert status == 0, f"{command} ended with {status}:\n{printed[-3000:]}"
        return printed

    def attempt(self, command: str, user: str = "root", cwd: Path | None = None) -> tuple[int, str]:
        """Runs a command on the operator's host as a user, and returns its exit status and its output."""
        words = f"cd {cwd or self.share} && {command}"
        if user != "root":
            home = self.home(user)
            as_user = f"setpriv --reuid={USERS[user]} --regid={USERS[user]} --clear-groups"
            words = f"cd / && {as_user} env HOME={home} USER={user} bash -c {shlex.quote(words)}"
        return self.hosts.run(OPERATOR, words)

    def launch(self, words: str, user: str = "root", cwd: Path | None = None) -> tuple[str, Path]:
        """Submits a job by launch/slurm.py, and returns its number and the folder of its sweep or run."""
        printed = self.run(f"python {REPO}/launch/slurm.py {words}", user, cwd)
        job = printed.partition("submitted  job ")[2].split()[0]
        return job, Path(printed.partition("tail -F ")[2].split()[0]).parent.parent

    def home(self, user: str) -> Path:
        return self.share / "home" / user

    def state(self, job: str) -> str:
        """Returns the state of a job, such as RUNNING."""
        return self.run(f"squeue -h --states=all -o %T -j {job}").strip()

    def over(self, job: str) -> bool:
        return self.state(job) not in ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "CONFIGURING")

    def ended(self, job: str, patience: float = PATIENCE) -> str:
        """Waits until a job is over, and returns its state."""
        assert wait_until(lambda: self.over(job), patience), self.run("squeue -l")
        return self.state(job)

    def said_of(self, job: str) -> str:
        """Returns the lines of the controller's log that name a job."""
        lines = (self.folder / "slurmctld.log").read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if re.search(rf"Id={job}\b|job {job}\b|_{job}\b", line))

    def notice_down_after(self, seconds: int) -> None:
        """Sets after how many seconds of silence Slurm calls a node down."""
        conf = self.folder / "slurm.conf"
        conf.write_text(re.sub("SlurmdTimeout=[0-9]+", f"SlurmdTimeout={seconds}", conf.read_text()))
        self.run("scontrol reconfigure")

    def left_over(self, hosts: Sequence[int] = (), users: Sequence[str] = ()) -> list[str]:
        """Returns what jobs left on hosts: processes, and files in /tmp and /dev/shm.

        Args:
            hosts: where to look; by default on all of them.
            users: whose jobs; by default everybody's.
        """
        found = []
        ours = "raylet|gcs_server|[.]slurm[.]node|launch/|driver[.]py"
        look = (
            f"ps -eo user:20,args | grep -E '{ours}' | grep -v grep; "
            "find /tmp /var/tmp /dev/shm -mindepth 1 -maxdepth 1 '(' -name 'fv*' -o -path '/dev/shm/*' ')' "
            "-printf '%-20u%p\\n'; true"
        )
        for host in hosts or range(1, self.hosts.n + 1):
            lines = self.hosts.check(host, look).splitlines()
            found += [f"fer{host}: {line}" for line in lines if not users or line.split()[0] in users]
        return found

    def _write_users(self) -> None:
        for name in ("passwd", "group"):
            lines = Path("/etc", name).read_text()
            for user, uid in USERS.items():
                lines += f"{user}:x:{uid}:" + (f"{uid}::{self.home(user)}:/bin/bash\n" if name == "passwd" else "\n")
            (self.folder / name).write_text(lines)
        for user, uid in USERS.items():
            self.home(user).mkdir(parents=True)
            shutil.chown(self.home(user), uid, uid)
            self.home(user).chmod(0o700)

    def _prepare(self, host: int) -> None:
        run = "/run/munge"
        munged = f"munged --force --key-file={self.folder}/munge.key --socket={run}/munge.socket.2 --pid-file={run}/pid"
        setting = f"export SLURM_CONF={self.folder}/slurm.conf PYTHONPATH={REPO}"
        self.hosts.check(
            host,
            f"chmod 711 /root; mkdir -p {run} /run/slurmd && chmod 755 {run}; "  # other users need this Python, too
            f"{munged} --log-file={run}/log --seed-file={run}/seed; "
            f"for file in passwd group; do mount --bind {self.folder}/$file /etc/$file; done; "
            f"grep -q SLURM_CONF ~/.bashrc || echo '{setting}' >>~/.bashrc",
        )


def events(folder: Path) -> list[str]:
    """Returns the events of a job's starts so far, such as began, paused, began, ended."""
    path = folder / "slurm" / "jobs.jsonl"
    return [str(row["event"]) for row in read_rows(path)] if path.is_file() else []


def log_of(folder: Path) -> str:
    path = folder / "slurm" / "log.txt"
    return path.read_text(errors="replace") if path.is_file() else ""
