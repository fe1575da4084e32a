"""Looks at the GPU that a process was given, and says in a line why it cannot be used. Does not use Ray.

Ray counts GPUs by NVIDIA's driver, whatever torch can do with them: the driver may be too old for torch's CUDA, and a
wheel of torch has kernels for some generations of GPUs only.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fervit.cluster.nodes import Cluster
from fervit.io.files import JsonObject, first_line
from fervit.system.hardware import says_memory_is_short

NEEDED_DRIVER = {11: 450, 12: 525, 13: 580}
"""A major version of CUDA -> the oldest driver that runs it (NVIDIA, "CUDA Compatibility", minor version
compatibility)."""
BFLOAT16 = (8, 0)
"""The compute capability from which on a GPU multiplies bfloat16; torch emulates it on older ones."""
OLD_WHEEL = "install a torch wheel of CUDA 12.6, which torch 2.6 to 2.9 have (cu126)"
HIDDEN = ("", "-1", "NoDevFiles")
"""The values of CUDA_VISIBLE_DEVICES that hide all GPUs on purpose."""
SMI_S = 60
"""The seconds within which nvidia-smi must answer."""
GIB = 1024**3


@dataclass(frozen=True, kw_only=True)
class GpuFacts:
    """What one look at the first GPU of a process found."""

    torch: str
    """The version of torch, such as 2.15.0+cu132."""
    cuda: str | None
    """The version of CUDA that torch was built for; None for a build without CUDA."""
    hip: str | None = None
    """The version of ROCm that torch was built for; None for a build without it."""
    architectures: tuple[str, ...] = ()
    """What the wheel has kernels for, such as sm_80."""
    driver: str = ""
    """The version of NVIDIA's driver; "" if none was found."""
    installed: int = 0
    """The number of GPUs that the driver has, whether or not this process may use them."""
    visible: str | None = None
    """CUDA_VISIBLE_DEVICES of the process; None if it is not set."""
    available: bool = False
    """Whether torch sees a GPU."""
    name: str = ""
    """The name of the GPU; "" if torch sees none."""
    capability: tuple[int, int] = (0, 0)
    """Its compute capability, such as (8, 0)."""
    memory: int = 0
    """Its memory in bytes."""
    error: str = ""
    """What torch said when it was asked for the GPU or for a small product on it; "" if all was well."""

    def __str__(self) -> str:
        """The GPU in a few words."""
        if not self.name:
            return "no GPU that torch sees"
        driver = f", driver {self.driver}" if self.driver else ""
        major, minor = self.capability
        return f"{self.name}, {self.memory / GIB:.0f} GiB, compute capability {major}.{minor}{driver}"

    @property
    def has_bfloat16(self) -> bool:
        """Whether the GPU multiplies bfloat16 itself."""
        return self.hip is not None or self.capability >= BFLOAT16

    @property
    def short_of_memory(self) -> bool:
        """Whether the GPU could be used if it had room."""
        return self.available and says_memory_is_short(self.error)

    def to_json(self) -> JsonObject:
        """Returns the facts as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: JsonObject) -> GpuFacts:
        """Reads what `to_json` returned."""
        pairs = {name: tuple(raw[name]) for name in ("architectures", "capability")}
        return cls(**{**raw, **pairs})


def problem_of(facts: GpuFacts) -> str:
    """Says why the GPU of a look cannot be used, and what to do about it, in one line; "" if it can be used."""
    if facts.cuda is None and facts.hip is None:
        return f"torch {facts.torch} is built without CUDA; install the wheel that constraints.txt names"
    if not facts.available:
        return _unseen(facts)
    if facts.hip is None and not _has_kernels(facts.capability, facts.architectures):
        major, minor = facts.capability
        newer = f"sm_{major}{minor}" if not facts.architectures else max(facts.architectures, key=_number)
        older = (major, minor) < divmod(_number(newer), 10)
        return (
            f"{facts.name} is sm_{major}{minor}, and torch {facts.torch} has kernels for "
            f"{', '.join(facts.architectures)} only; {OLD_WHEEL if older else 'install a newer torch'}"
        )
    if facts.short_of_memory:
        return f"{facts.name} has no memory left ({facts.error}); `nvidia-smi` shows what uses it, which has to end"
    if facts.error:
        return f"a small product on {facts.name} failed ({facts.error}); see `nvidia-smi`, or restart the machine"
    return ""


def _unseen(facts: GpuFacts) -> str:
    """Says why torch sees no GPU."""
    needed = needed_driver(facts.cuda)
    said = f" ({facts.error})" if facts.error else ""
    if facts.hip is not None:
        return f"torch {facts.torch} sees no GPU of AMD{said}; see `rocm-smi`"
    if not facts.driver:
        return (
            f"there is no NVIDIA driver; install driver {needed} or newer, or start the container with its GPUs "
            "(docker run --gpus all)"
        )
    if _major(facts.driver) < needed:
        return (
            f"driver {facts.driver} is older than torch's CUDA {facts.cuda} needs; install driver {needed} or newer, "
            f"or {OLD_WHEEL}"
        )
    if facts.visible is not None and facts.installed and _names_nothing(facts):
        last = f"0 to {facts.installed - 1}" if facts.installed > 1 else "0"
        return (
            f"CUDA_VISIBLE_DEVICES={facts.visible} names none of the GPUs here, which are {last}; unset it, or name one"
        )
    return f"torch sees no GPU{said}; see `nvidia-smi`"


def _names_nothing(facts: GpuFacts) -> bool:
    """Whether CUDA_VISIBLE_DEVICES names none of the GPUs that are installed."""
    names = [name.strip() for name in (facts.visible or "").split(",")]
    if all(name.isdigit() for name in names):
        return all(int(name) >= facts.installed for name in names)
    return "No CUDA GPUs" in facts.error  # names such as GPU-5ebe9f43


def needed_driver(cuda: str | None) -> int:
    """The oldest major version of the driver that runs a version of CUDA, such as 580 for "13.2"."""
    major = _major(cuda or "13")
    return NEEDED_DRIVER.get(major, max(NEEDED_DRIVER.values()) if major > max(NEEDED_DRIVER) else 0)


def _has_kernels(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Whether a wheel runs on a GPU.

    Machine code (sm_80) runs on the same major version from its minor one on, PTX (compute_80) on all that are newer.
    Code for one GPU alone (sm_90a) runs there.
    """
    for architecture in architectures:
        kind, number, alone = re.fullmatch(r"(sm|compute)_(\d+)([a-z]?)", architecture or "").groups()  # type: ignore[union-attr]
        major, minor = divmod(int(number), 10)
        if (alone and (major, minor) == capability) or (kind == "compute" and (major, minor) <= capability):
            return True
        if kind == "sm" and not alone and major == capability[0] and minor <= capability[1]:
            return True
    return False


def _number(architecture: str) -> int:
    """sm_80 -> 80."""
    return _major(architecture.partition("_")[2])


def _major(version: str) -> int:
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def look_here() -> GpuFacts:
    """Looks at the first GPU that this process may use: the driver, torch's kernels, memory, and a small product.

    It takes about a second, and some hundred megabytes of the GPU's memory until the process ends.
    """
    import torch

    driver, installed = find_driver()
    facts = GpuFacts(
        torch=torch.__version__,
        cuda=torch.version.cuda,
        hip=getattr(torch.version, "hip", None),
        architectures=_architectures(),
        driver=driver,
        installed=installed,
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )
    try:
        torch.cuda.init()
        properties = torch.cuda.get_device_properties(0)
        facts = replace(
            facts,
            available=True,
            name=properties.name,
            capability=(properties.major, properties.minor),
            memory=properties.total_memory,
        )
        side = 64
        product = torch.ones(side, side, device="cuda") @ torch.ones(side, side, device="cuda")
        if float(product.sum()) != side**3:
            return replace(facts, error=f"its sum is {float(product.sum()):g}, not {side**3}")
    except (RuntimeError, AssertionError) as error:  # a build without CUDA raises the latter
        return replace(facts, error=first_line(error))
    return facts


def gpus_here() -> int:
    """The GPUs of this process, those included that CUDA_VISIBLE_DEVICES names but that are not there."""
    import torch

    found: int = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name not in HIDDEN]
    return found or (min(len(named), find_driver()[1]) if named else 0)


def _architectures() -> tuple[str, ...]:
    """What the wheel has kernels for. Older versions of torch tell it only where they see a GPU."""
    import torch

    return tuple(name for name in torch.cuda.get_arch_list() if re.fullmatch(r"(sm|compute)_\d+[a-z]?", name))


def find_driver(proc: Path = Path("/proc/driver/nvidia")) -> tuple[str, int]:
    """Finds NVIDIA's driver without loading it.

    Args:
        proc: the folder in which the driver describes itself, on Linux.

    Returns:
        Its version, "" if there is none; and the number of GPUs that it has.
    """
    try:
        text = (proc / "version").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"Kernel Module(?: for \S+)?\s+(\d+[\d.]*)", text)
        if found:
            return found[1], len(list((proc / "gpus").iterdir()))
    except OSError:
        pass  # as in WSL
    lines = nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader").splitlines()
    versions = [line.strip() for line in lines if re.fullmatch(r"\d+[\d.]*", line.strip())]
    return (versions[0], len(versions)) if versions else ("", 0)


def nvidia_smi(*args: str) -> str:
    """What nvidia-smi prints; "" if it is not there or does not answer."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *args], capture_output=True, text=True, errors="replace", timeout=SMI_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class GpuLook:
    """What the looks at the GPUs of a cluster, or of this machine, found."""

    cluster: Cluster
    """The cluster, in which GPUs that cannot be used do not count."""
    seen: tuple[GpuFacts, ...] = ()
    """The GPUs that can be used, one of each node that was looked at."""
    problems: Mapping[str, str]
    """For each node with a GPU that cannot be used: in words which node -> why, and what to do about it."""

    @classmethod
    def none(cls, cluster: Cluster) -> GpuLook:
        """No look at all, since there is nothing to look at."""
        return cls(cluster=cluster, problems={})

    @classmethod
    def of(cls, cluster: Cluster, answers: Mapping[str, GpuFacts | str]) -> GpuLook:
        """What follows for a cluster from the looks at its nodes.

        Args:
            cluster: the cluster.
            answers: for each node that was looked at: its address -> what was found, or why the look failed.
        """
        problems = {
            address: answer if isinstance(answer, str) else problem_of(answer) for address, answer in answers.items()
        }
        bad = {address for address, problem in problems.items() if problem}
        nodes = tuple(replace(node, gpus=0) if node.address in bad else node for node in cluster.nodes)
        return cls(
            cluster=replace(
                cluster,
                nodes=nodes,
                unusable=tuple(node.node_id for node in cluster.nodes if node.address in bad and node.node_id),
            ),
            seen=tuple(a for address, a in answers.items() if isinstance(a, GpuFacts) and address not in bad),
            problems={
                "this machine" if cluster.started_here else f"node {address}": problem
                for address, problem in problems.items()
                if problem
            },
        )

    @property
    def why(self) -> str:
        """Why GPUs cannot be used, in one line; "" if all can."""
        return "; ".join(
            f"GPU of {' and '.join(where for where, why in self.problems.items() if why == problem)}: {problem}"
            for problem in dict.fromkeys(self.problems.values())
        )

    def remark(self, flag: str) -> str:
        """What to tell the user about GPUs that cannot be used; "" if all can.

        Args:
            flag: what leaves GPUs out from the start, such as --no_use_gpu.
        """
        if not self.problems:
            return ""
        if self.cluster.gpus:
            return f"{self.why}; that GPU is left out"
        return f"{self.why}; running on the CPU ({flag} does so without a look)"


class UnusableGpuError(Exception):
    """The GPU of this node cannot be used. The work goes on elsewhere."""


def check_gpu(device: str, where: str, *, mps: bool = False) -> None:
    """Checks the GPU that this process was given, since nodes that joined after the start were not looked at.

    Args:
        device: the name of torch's device.
        where: the address of this node.
        mps: whether the GPU is shared by MPS, where the fault of another process looks like one of the GPU.

    Raises:
        UnusableGpuError: the device is a GPU, and it cannot be used.
        RuntimeError: it has no memory left, or a process that shares it by MPS has failed; the node is sound.
    """
    if device != "cuda":
        return
    facts = look_here()
    if facts.short_of_memory or (mps and facts.available and facts.error):
        raise RuntimeError(facts.error)
    problem = problem_of(facts)
    if problem:
        raise UnusableGpuError(f"{place_in_words(where)}{problem}")


def place_in_words(address: str) -> str:
    """What the line on a GPU of a node begins with."""
    return f"GPU of node {address}: "
