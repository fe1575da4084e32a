"""Examines this machine and what a job is about to use, on one screen; paste it into a bug report. Exit status 1 means
that something would fail later."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser
from fervit.commands.output import add_format, printing


def parser() -> Parser:
    """Defines the flags of `launch/doctor.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument("--data_root", help="faces that are to be read, as in encode.py")
    flags.add_argument("--latents", help="folder with the train/, val/ and test/ latents that are to be read")
    flags.add_argument("--latent_out", help="folder that codes are to be written to")
    flags.add_argument("--output_dir", help="folder that results are to be written to, such as experiments")
    flags.add_argument(
        "--encoder_model", "--encoder_ckpt", type=Path, help="the encoder's checkpoint, every weight of which is read"
    )
    flags.add_argument("--encoder_type", choices=("psp", "e4e"), help="of the checkpoint; left out: whichever it is")
    flags.add_argument("--address", help="address of a Ray cluster to look at; left out: no Ray is started or joined")
    add_format(flags, of="doctor")
    return flags


def main() -> int:
    """Runs the command with the flags of `sys.argv`, and returns its exit status: 1 if something would fail later."""
    args = parser().parse()

    from fervit.api.doctor import doctor
    from fervit.commands.results import Diagnosed

    form = vars(args).pop("format")
    with printing(form) as give:
        findings = doctor(**vars(args))
        problems = sum(bool(finding.problem) for finding in findings)
        print(f"{problems} problem{'s' if problems > 1 else ''} found" if problems else "nothing found that would fail")
        give(Diagnosed(problems=problems, findings=findings))
    return 1 if problems else 0
