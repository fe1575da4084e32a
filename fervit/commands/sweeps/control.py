"""Steers a sweep while it runs: stops, keeps or adds trials, holds it, and says why a trial ended."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser
from fervit.commands.folders import refuse_no_sweep
from fervit.commands.output import add_format, printing

ACTIONS = {
    "stop": "end a trial after its epoch",
    "keep": "never end or pause a trial early",
    "add": "try a configuration next, one more than the space says: 'lr=3e-4 depth=2'",
    "pause": "begin no further trials; those that train go on",
    "go": "begin trials again",
    "why": "say why a trial ended or paused",
}
"""What the command can do, for `--help`."""


def parser() -> Parser:
    """Defines the flags of `launch/control.py`.

    Returns:
        The parser of the flags.
    """
    actions = "; ".join(f"{name}: {does}" for name, does in ACTIONS.items())
    flags = Parser(description=__doc__)
    flags.add_argument("sweep", type=Path, help="folder of the sweep, experiments/vit_...")
    flags.add_argument("action", choices=tuple(ACTIONS), help=actions)
    flags.add_argument("what", nargs="*", help="the trial, such as 3 or trial_0003, or the configuration to add")
    add_format(flags, of="control")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: the folder is no sweep's, or what is asked for cannot be done.
    """
    args = parser().parse()
    refuse_no_sweep(args.sweep)

    from fervit.api.control import control
    from fervit.commands.results import Controlled

    with printing(args.format) as give:
        text = control(args.sweep, args.action, *args.what)
        give(Controlled(sweep=args.sweep, action=args.action, text=text))
