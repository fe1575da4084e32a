"""Writes what `ray up` starts a cluster from: cluster.yaml, clusters/, and the code that goes to its nodes."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser
from fervit.commands.output import add_format, printing


def parser() -> Parser:
    """Defines the flags of `fervit cluster`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument("what", choices=("init",), help="init: write the files")
    flags.add_argument("folder", nargs="?", type=Path, default=Path("fervit_cluster"), help="folder for the files")
    flags.add_argument("--force", action="store_true", help="replace files that are there and differ")
    add_format(flags, of="cluster")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: a file is there and differs.
    """
    args = parser().parse()

    from fervit.cluster.cluster_files import write_cluster_files
    from fervit.commands.results import ClusterFiles

    with printing(args.format) as give:
        written = write_cluster_files(args.folder, force=args.force)
        print(f"written  {args.folder}: {len(written)} files")
        print("AWS      cluster.yaml")
        print("others   clusters/local.yaml (machines of your own), gcp.yaml, kuberay.yaml")
        print(f"next     edit what says CHANGE; cd {args.folder}; ray up -y cluster.yaml")
        give(ClusterFiles(folder=args.folder, files=written))
