"""What jobs of Ray Data on pictures share: their blocks, what tasks say of these, and how a job ends.

A job counts, lists what failed, and tells its end, whatever that is, in a line.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fervit.cluster.nodes import Cluster
from fervit.cluster.shared_folder import check_shared
from fervit.encoding.failures import FaceList
from fervit.errors import JobError, UserError
from fervit.io.disk import make_folder
from fervit.io.files import first_line, is_uri
from fervit.io.storage import absolute, cannot_write
from fervit.progress import Progress, Say

if TYPE_CHECKING:
    import ray

Columns = dict[str, np.ndarray]
"""A block of n rows: the name of each column -> its values [n, ...]."""
STAYS = "; what was written stays whole"
"""The end of the text of an error that ends a job amid its pictures."""
Receipts = list[dict[str, Any]]
"""What a task says of the rows of a block: image_id, split, error ("" for none), host, and fatal ("" unless the job has
to end), besides what is the job's own."""


def this_address() -> str:
    """The address of the node on which this process of Ray runs."""
    import ray

    address: str = ray.util.get_node_ip_address()
    return address


@contextmanager
def resumable() -> Iterator[None]:
    """Says that the same command goes on, if its block is interrupted and says nothing else."""
    try:
        yield
    except KeyboardInterrupt as error:
        if str(error):
            raise
        raise KeyboardInterrupt(
            "interrupted; what was written stays, and the same command goes on from there"
        ) from None


def check_places(cluster: Cluster, latent_out: str, inputs: Sequence[str], flag: str = "--latent_out") -> None:
    """Checks that every node sees the paths that it reads and writes. URIs are not checked.

    Args:
        cluster: the cluster that this process is connected to.
        latent_out: the folder or URI of what is written.
        inputs: the paths or URIs that tasks read.
        flag: the flag that names `latent_out`, for messages.

    Raises:
        UserError: a node does not see one of the paths.
    """
    if len(cluster.nodes) == 1:
        return
    missing = partial(_missing, [absolute(path) for path in inputs if not is_uri(path)])
    if is_uri(latent_out):
        folder = None
    else:
        folder = Path(absolute(latent_out))
        make_folder(folder)
    way_out = f"give a {flag} that all nodes share under one path (NFS, EFS), or an object store (s3://, gs://)"
    for address, path in check_shared(cluster.nodes, folder, missing, way_out).items():
        raise UserError(
            f"node {address}: {path} is not there; every node reads it, under that path or from s3://, gs://"
        )


def _missing(paths: Sequence[str]) -> str:
    """The first path that does not exist on this machine, or ""."""
    return next((path for path in paths if not Path(path).exists()), "")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a job on pictures is called where its progress and its end are said."""

    folder: str
    """The folder or URI that it writes to."""
    total: int
    """The number of pictures."""
    label: str
    """What it does, such as "encode"."""
    verb: str
    """What it has done to a picture, such as "encoded"."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What a job has done."""

    done: int
    failed: int
    seconds: float
    hosts: dict[str, int]
    """The number of pictures that each machine has done."""


def follow(
    job: Job,
    receipts: Iterable[Receipts],
    failures: FaceList,
    taken_in: Callable[[Receipts, int], None],
    finish: Callable[[], None],
    say: Say | None,
) -> Followed:
    """Takes in what the tasks of a job say of each block, until its end, whatever that is.

    Args:
        job: the job.
        receipts: the rows of each block, with the columns image_id, split, error, fatal and host.
        failures: gets the pictures that failed.
        taken_in: is called with the rows of a block and the number of those that failed.
        finish: is called after the last block.
        say: where progress goes; see `Progress`.

    Raises:
        JobError: a task says that the job must end, the folder cannot be written to, or Ray has lost a part of the job.
        KeyboardInterrupt: the user pressed Ctrl-C.
    """
    started, hosts = time.monotonic(), Counter[str]()
    progress = Progress(total=job.total, unit="images", label=job.label, say=say)
    try:
        for rows in receipts:
            if rows[0]["fatal"]:
                raise JobError(f"{rows[0]['fatal']}{STAYS}")
            failed = [row for row in rows if row["error"]]
            for row in failed:
                failures.add(row["split"], row["image_id"], row["error"])
            taken_in(rows, len(failed))
            hosts[rows[0]["host"]] += len(rows) - len(failed)
            progress.add(len(rows) - len(failed), failed=len(failed))
        failures.write()
        finish()
    except KeyboardInterrupt:
        failures.write()
        raise KeyboardInterrupt(
            f"interrupted: {progress.done} images were {job.verb} and stay; the same command goes on from there"
        ) from None
    except OSError as error:
        raise JobError(cannot_write(job.folder, error)) from None
    except Exception as error:
        if not _is_loss(error):
            raise
        raise JobError(
            f"Ray lost a part of the job, such as its node ({first_line(error)}); {progress.done} images were "
            f"{job.verb} and stay; the same command goes on from there"
        ) from None
    finally:
        progress.close()
        _close(receipts)
    return Followed(done=progress.done, failed=progress.failed, seconds=time.monotonic() - started, hosts=dict(hosts))


def _is_loss(error: Exception) -> bool:
    """Whether the error says that a process or a node died, rather than that a task raised an exception."""
    from ray.exceptions import RayError, RayTaskError

    return isinstance(error, RayError) and not isinstance(error, RayTaskError)


def map_faces(rows: pa.Table, block_rows: int, step: Callable[..., Columns], **arguments: Any) -> Iterator[Receipts]:
    """Runs a step on the rows of an index, in tasks of one CPU each, and yields what it returns of each block.

    Args:
        rows: the rows, with the column `split`.
        block_rows: the number of rows in a block, which is of one split.
        step: gets a block as a table, and `arguments`.
        arguments: further arguments of `step`.
    """
    import ray

    settle_data(-1)
    dataset = ray.data.from_arrow(blocks_of(rows, block_rows)).map_batches(
        step, fn_kwargs=arguments, batch_format="pyarrow", batch_size=None, num_cpus=1
    )
    yield from rows_of(dataset)


def settle_data(wait_s: int) -> None:
    """Silences Ray Data, and says for how long it waits until all actors run; -1 for not at all."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.wait_for_min_actors_s = wait_s


def rows_of(dataset: ray.data.Dataset) -> Iterator[Receipts]:
    """Yields the rows of each block of a dataset as it is computed."""
    batches = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    try:
        for batch in batches:
            yield batch.to_pylist()
    finally:
        _close(batches)


def _close(iterator: Iterable[Any]) -> None:
    """Ends an iterator now. One of Ray Data that is left to the garbage collector talks to a Ray that has ended."""
    if isinstance(iterator, Generator):
        iterator.close()


def blocks_of(rows: pa.Table, size: int) -> list[pa.Table]:
    """Divides rows into tables of at most `size` rows, each of one split."""
    blocks = []
    for split in pc.unique(rows["split"]).to_pylist():
        of_split = rows.filter(pc.equal(rows["split"], split))
        blocks += [of_split.slice(i, size).combine_chunks() for i in range(0, len(of_split), size)]
    return blocks
