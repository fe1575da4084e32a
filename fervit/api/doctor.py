"""Examines this machine, a Ray cluster, and what a job is about to use, for what would fail later."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from fervit.cluster.connection import connect
from fervit.cluster.gpu_look import look_at_gpus
from fervit.diagnosis.finding import Finding
from fervit.diagnosis.machine import examine_machine
from fervit.diagnosis.paths import examine_encoder, examine_latents, examine_source, examine_target
from fervit.diagnosis.ray_setup import examine_ray
from fervit.errors import JobError, UserError
from fervit.progress import Say, silent


def doctor(
    *,
    data_root: str | None = None,
    latents: str | None = None,
    latent_out: str | None = None,
    output_dir: str | None = None,
    encoder_model: Path | None = None,
    encoder_type: str | None = None,
    address: str | None = None,
    say: Say | None = print,
) -> list[Finding]:
    """Examines this machine and what a job is about to use. It starts no Ray, and prints no secrets.

    Args:
        data_root: the faces that a job reads; None for none, as for all that follow.
        latents: the folder of the latents that a job reads.
        latent_out: the folder that codes are written to.
        output_dir: the folder that results are written to.
        encoder_model: the encoder's checkpoint.
        encoder_type: "psp" or "e4e"; None for whichever the checkpoint is.
        address: the address of a Ray cluster that is examined, too.
        say: gets each finding; None for silence.

    Returns:
        The findings.
    """
    sections: list[Callable[[], Iterable[Finding]]] = [examine_machine, examine_ray]
    if encoder_model is not None:
        sections.append(lambda: [examine_encoder(encoder_model, encoder_type)])
    if data_root is not None:
        sections.append(lambda: [examine_source("faces", data_root)])
    if latents is not None:
        sections.append(lambda: [examine_latents(latents)])
    for name, path in (("latent_out", latent_out), ("output_dir", output_dir)):
        if path is not None:
            sections.append(partial(_examine_target, name, path))
    if address is not None:
        sections.append(lambda: _examine_cluster(address))
    findings = []
    for section in sections:
        for finding in section():
            findings.append(finding)
            (say or silent)(str(finding))
    return findings


def _examine_target(name: str, path: str) -> Iterator[Finding]:
    yield examine_target(name, path)


def _examine_cluster(address: str) -> Iterator[Finding]:
    """Examines a running Ray cluster: its nodes, and a look at the GPU of each."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with connect(address, Path(folder, "ray.log")) as cluster:
                yield Finding(topic="cluster", text=str(cluster))
                look = look_at_gpus(cluster)
                for node in cluster.there:
                    yield Finding(topic="node", text=f"{node.address}: {node.cpus:g} CPUs, {node.gpus:g} GPUs")
                for facts in look.seen:
                    yield Finding(topic="GPU", text=str(facts))
                for where, problem in look.problems.items():
                    yield Finding(topic="GPU", text=f"of {where}", problem=problem)
        except (UserError, JobError) as error:
            yield Finding(topic="cluster", text=address, problem=str(error))
