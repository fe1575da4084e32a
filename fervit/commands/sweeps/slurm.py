"""Runs a search, an encoding or a training as a job of Slurm, which goes on by itself after each time limit."""

from __future__ import annotations

import re
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from fervit.cli import Parser, positive_int, refuse_missing, whole_number
from fervit.commands.output import add_format, printing
from fervit.commands.results import Submitted
from fervit.errors import NO_DATA, UserError
from fervit.system.program import called, starting

if TYPE_CHECKING:
    from fervit.search.space.settings import TrialResources
    from fervit.slurm.script import JobFiles, Request

AFTER = "; if a job writes it, name that with --after"
WHAT = ("tune", "encode", "train", "status")
EPILOG = (
    f"All other flags are those of {called('tune')}, `encode` or `train`; flags after -- go to sbatch as they are. "
    f"For example: {called('slurm')} tune --space search_spaces/vit.yaml --latents latents --nodes 4 --gpus_per_node 4 "
    "--time 04:00:00 -- --constraint=a100"
)


def parser(what: str = "") -> Parser:
    """Defines the flags of `launch/slurm.py`.

    Args:
        what: one of `WHAT`; "" for the flags of jobs.

    Returns:
        The parser of the flags that are not those of the command itself.
    """
    flags = Parser(description=__doc__, epilog=EPILOG)
    flags.add_argument("what", choices=WHAT, help="the command to run, or status: how a job is doing")
    if what == "status":
        flags.add_argument("folder", type=Path, help="the folder in experiments/ that was named when it was submitted")
        add_format(flags, of="slurm_status")
        return flags
    flags.add_argument("--time", required=True, help="the limit of one job, as Slurm writes it, such as 04:00:00")
    flags.add_argument("--nodes", type=positive_int, default=1)
    flags.add_argument("--gpus_per_node", type=whole_number, default=0)
    flags.add_argument(
        "--cpus_per_node", type=positive_int, help="left out: what the trials on a node's GPUs need, or 4"
    )
    flags.add_argument("--mem", help="memory a node, such as 64G; left out: what the cluster gives")
    flags.add_argument("--partition")
    flags.add_argument("--account")
    flags.add_argument("--name", help="of the job; left out: that of the space or the command")
    flags.add_argument("--save_before", type=positive_int, default=120, help="seconds before the limit to save in")
    flags.add_argument("--max_requeues", type=whole_number, default=100, help="how often it goes on by itself")
    flags.add_argument("--after", metavar="JOB", help="begin once this job has ended well, such as that of encode")
    flags.add_argument("--print", action="store_true", help="only write and show the script, without submitting it")
    add_format(flags, of="slurm")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: a flag is wrong, there is no Slurm, or it refuses the job.
        JobError: Slurm does not answer.
    """
    words = sys.argv[1:]
    what = words[0] if words and words[0] in WHAT else ""
    here, sbatch = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    args, rest = parser(what).parse_some(here)
    if what == "status":
        if rest:
            parser(what).error(f"unrecognized arguments: {' '.join(rest)}")
        from fervit.slurm.status import status_lines, status_of

        with printing(args.format) as give:
            status = status_of(args.folder)
            for line in status_lines(status):
                print(line)
            give(status)
        return
    with printing(args.format) as give:
        give(_submit(args, rest, sbatch))


def _submit(args: Namespace, rest: Sequence[str], sbatch: Sequence[str]) -> Submitted:
    """Checks the command and the job, writes the batch script, and submits it."""
    from fervit.io.disk import make_folder
    from fervit.io.files import write_text
    from fervit.slurm.script import JobFiles, batch_script
    from fervit.slurm.submit import after_flags, check_shared, submit
    from fervit.slurm.times import checked_limit

    limit = checked_limit(args.time, args.save_before)
    if args.after is not None and not re.fullmatch(r"\d+(:\d+)*", args.after):
        raise UserError(f"--after {args.after}: must be the number of a job, or several with colons between them")
    check_shared("the folder in which you are,", Path.cwd())
    given, name, request = _checked(args, rest, sbatch)
    files = JobFiles(_folder(given, name))
    make_folder(files.path)
    if args.what == "tune":
        rest = _with_own_space(rest, files)
    command = [*starting(args.what), *_without_resume(rest)]
    if args.what != "encode":
        command += ["--resume", str(files.folder)]
    text = batch_script(request, files, command, Path.cwd())
    _keep_earlier(files.script, text)
    write_text(files.script, text)
    print(text)
    hours = f"{limit / 3600:.3g} hours" if limit >= 3600 else f"{limit / 60:.3g} minutes"
    print(f"each job has {hours}; {args.save_before} s before its end it saves, and goes on in the next one")
    if args.print:
        flags = shlex.join(after_flags(args.after)) + " " if args.after else ""
        print(f"not submitted: sbatch {flags}{shlex.quote(str(files.script))}")
        return Submitted(job="", folder=files.folder, script=files.script, log=files.log)
    job = submit(files, args.after)
    write_text(files.path / "job_id", f"{job}\n")
    print(f"submitted  job {job}")
    print(f"watch      tail -F {files.log}")
    print(f"           {called('slurm')} status {files.folder}")
    print(f"stop       scancel --batch --signal=TERM {job}    (saves first; scancel {job} ends at once)")
    return Submitted(job=job, folder=files.folder, script=files.script, log=files.log)


def _keep_earlier(script: Path, text: str) -> None:
    """Renames an earlier script to job.sh.1, job.sh.2 and so on if it differs, since the user may have changed it."""
    from fervit.io.disk import rename
    from fervit.io.files import near

    if not script.is_file() or script.read_text(encoding="utf-8", errors="replace") == text:
        return
    kept = next(path for n in count(1) if not (path := script.with_name(f"{script.name}.{n}")).exists())
    rename(script, kept)
    print(f"the earlier script is kept as {near(kept)}")


def _checked(args: Namespace, rest: Sequence[str], sbatch: Sequence[str]) -> tuple[Namespace, str, Request]:
    """Reads the flags of the command itself, and returns them, the name of its folder, and the job."""
    from fervit.slurm.fits import PLACES, check_fits, check_trial, cpus_for, nodes_of_slurm
    from fervit.slurm.script import Request

    given, name, trial = _CHECKS[args.what](list(rest), after=args.after)
    if getattr(given, "use_gpu", None) and not args.gpus_per_node:
        raise UserError("--use_gpu: the job asks for no GPUs; give --gpus_per_node")
    cpus = args.cpus_per_node or (cpus_for(trial, args.nodes, args.gpus_per_node) if trial is not None else PLACES)
    request = Request(
        name=args.name or f"fervit-{name}",
        nodes=args.nodes,
        cpus_per_node=cpus,
        gpus_per_node=args.gpus_per_node,
        time=args.time,
        mem=args.mem,
        partition=args.partition,
        account=args.account,
        save_before=args.save_before,
        max_requeues=args.max_requeues,
        sbatch=tuple(sbatch),
    )
    workers = "--workers" if args.what == "train" else "trial.workers"
    if trial is not None and (remark := check_trial(trial, request, workers)):
        print(remark)
    resumed = getattr(given, "resume", None)
    if resumed and not Path(resumed).is_dir():
        raise UserError(f"--resume {resumed}: there is no such folder; give one in experiments/")
    if not args.print:
        check_fits(request, nodes_of_slurm())
    return given, name, request


def _check_tune(rest: list[str], after: str | None) -> tuple[Namespace, str, TrialResources | None]:
    from fervit.api.tune import resolve_space
    from fervit.commands.sweeps.tune import parser as of_tune
    from fervit.search.records.sweep_folder import earlier_sweep
    from fervit.slurm.submit import check_shared

    given = of_tune().parse(rest)
    if given.dry_run or given.address:
        raise UserError("--dry_run and --address: do not go with a job, which has a Ray of its own; leave them out")
    space = resolve_space(given.space, given.set)
    check_shared("--latents", given.latents)
    if after is None:
        _check_there(given.latents)
    check_shared("--space", given.space)
    check_shared("--output_dir", given.output_dir)
    if given.resume == "":  # the newest of this space, or none
        earlier = earlier_sweep(space, "", Path(given.output_dir))
        given.resume = str(earlier.path) if earlier is not None else None
    return given, space.name, space.trial


def _check_encode(rest: list[str], after: str | None) -> tuple[Namespace, str, TrialResources | None]:
    from fervit.commands.data.encode import parser as of_encode
    from fervit.slurm.submit import check_shared

    given = of_encode().parse(rest)
    for flag in ("data_root", "latent_out", "encoder_model", "from_pt"):
        if (path := getattr(given, flag)) is not None:
            check_shared(f"--{flag}", path)
            if flag == "encoder_model" or (flag != "latent_out" and after is None):
                refuse_missing(path, NO_DATA + ("" if flag == "encoder_model" else AFTER), f"--{flag}")
    return given, "encode", None


def _check_train(rest: list[str], after: str | None) -> tuple[Namespace, str, TrialResources | None]:
    from fervit.commands.models.train import parser as of_train
    from fervit.search.space.settings import TrialResources
    from fervit.slurm.submit import check_shared

    given = of_train().parse(rest)
    for flag in ("latent_train_dir", "latent_val_dir"):
        if (path := getattr(given, flag)) is not None:
            check_shared(f"--{flag}", path)
            if after is None:
                refuse_missing(path, NO_DATA + AFTER, f"--{flag}")
        elif not given.resume and not (flag == "latent_val_dir" and given.val_fraction):
            raise UserError(f"--{flag}: is missing; give the folder that {called('encode')} wrote")
    for flag in ("output_dir", "checkpoint_dir"):
        if (path := getattr(given, flag)) is not None:
            check_shared(f"--{flag}", path)
    gpus = 0.0 if given.use_gpu is False else None
    return given, "latent_vit", TrialResources(workers=given.workers or 1, cpus=1, gpus=gpus)


_CHECKS = {"tune": _check_tune, "encode": _check_encode, "train": _check_train}


def _check_there(latents: str) -> None:
    from fervit.io.files import is_uri

    if not is_uri(latents) and not (Path(latents) / "train").is_dir():
        raise UserError(
            f"{latents}/train: no latents here; make them with `{called('slurm')} encode ...` or {called('encode')}, "
            "or name the job that does with --after"
        )


def _folder(given: Namespace, name: str) -> Path:
    """Returns the folder of an earlier sweep or run, or makes a new one, in which the command will begin."""
    from fervit.runs.folder import EXPERIMENTS, new_folder

    if getattr(given, "resume", None):
        return Path(given.resume).absolute()
    name = getattr(given, "experiment_name", None) or name
    if getattr(given, "checkpoint_dir", None):
        return new_folder("", Path(given.checkpoint_dir, name))
    return new_folder(name, Path(getattr(given, "output_dir", EXPERIMENTS)))


def _with_own_space(rest: Sequence[str], files: JobFiles) -> list[str]:
    """Copies the space beside the script, since later jobs must find it as it is now, and returns the changed flags."""
    from fervit.io.files import write_text
    from fervit.search.space.space_file import space_path

    words = list(rest)
    for i, word in enumerate(words):
        _, equals, given = word.partition("=")
        if word == "--space" or (equals and word.startswith("--space=")):
            copy, space = files.path / "space.yaml", space_path(Path(given or words[i + 1]))
            if space.absolute() != copy:
                write_text(copy, space.read_text(encoding="utf-8"))
            return [*words[:i], "--space", str(copy), *words[i + (1 if equals else 2) :]]
    return words


def _without_resume(rest: Sequence[str]) -> list[str]:
    """Leaves out `--resume`, since every job begins with the folder of its own."""
    words = list(rest)
    for i, word in enumerate(words):
        if word == "--resume":
            follows = i + 1 < len(words) and not words[i + 1].startswith("--")
            return words[:i] + words[i + 1 + follows :]
        if word.startswith("--resume="):
            return words[:i] + words[i + 1 :]
    return words
