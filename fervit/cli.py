"""The parts that all commands share: flags with `-` or `_`, errors of one line, and exit statuses."""

from __future__ import annotations

import argparse
import atexit
import dataclasses
import difflib
import errno
import os
import re
import signal
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any, Never

from fervit.errors import NEEDS_UNIX, JobError, UserError
from fervit.system import interrupts, surroundings
from fervit.system.program import NAME
from fervit.system.streams import steady_output
from fervit.version import __version__

if sys.platform == "win32":
    sys.stderr.write(f"error: {NEEDS_UNIX}\n")
    sys.exit(2)

from fervit.io.files import from_home, is_missing


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """A help formatter that shows defaults, except for those that tell nothing, such as "(default: None)"."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, [], argparse.SUPPRESS):
            return action.help
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose help shows the defaults and whose errors are one line.

    Flags are declared with `_`; the user may write each with `-` or `_`.

    Args:
        description: the description of the command in its help.
        epilog: the text below the flags in the help.
    """

    def __init__(self, description: str, epilog: str | None = None) -> None:
        super().__init__(
            description=description,
            epilog=epilog,
            formatter_class=_Help,
            allow_abbrev=False,
        )
        self.register("type", int, _int)
        self.register("type", float, _float)
        self.add_argument("--version", action="version", version=f"{NAME} {__version__}", help="print the version")

    def parse(self, args: Sequence[str] | None = None) -> argparse.Namespace:
        """Reads the flags, written with `-` or `_`.

        Args:
            args: the arguments of the command; None for those of `sys.argv`.

        Returns:
            The values under the names of the flags.

        Raises:
            SystemExit: with status 2 and one line after a mistake, and with status 0 after `--help`.
        """
        given = [_with_underscores(arg) for arg in (sys.argv[1:] if args is None else args)]
        self._check_flags(given)
        return self.parse_args(given)

    def parse_some(self, args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Reads the flags that this parser knows.

        Args:
            args: the arguments of the command.

        Returns:
            The values under the names of the flags, and the other arguments in their order.

        Raises:
            SystemExit: as for `parse`.
        """
        return self.parse_known_args([_with_underscores(arg) for arg in args])

    def actions(self) -> list[argparse.Action]:
        """Returns the arguments of the command, of which one may say how a shell completes its values."""
        return self._actions

    def _check_flags(self, given: list[str]) -> None:
        """Ends the command if a flag is unknown, before one that is missing can hide what was misspelt."""
        flags = given[: given.index("--")] if "--" in given else given
        for name in (arg.partition("=")[0] for arg in flags if arg.startswith("--")):
            if name not in self._option_string_actions:
                close = difflib.get_close_matches(name, self._option_string_actions, n=1, cutoff=0.7)
                self.error(f"there is no flag {name}" + (f"; did you mean {close[0]}?" if close else ""))

    def error(self, message: str) -> Never:
        """Ends the command with a line on standard error.

        Args:
            message: the description of the mistake.

        Raises:
            SystemExit: with status 2.
        """
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def refuse_missing(paths: str | Sequence[str], message: str, flag: str = "") -> None:
    """Refuses local paths that are not there, before a command imports what takes seconds.

    Args:
        paths: what the user gave; URIs are not looked at.
        message: what the line says after the path.
        flag: the flag that the path belongs to, which the line names before it.

    Raises:
        UserError: one of them is not there.
    """
    for path in [paths] if isinstance(paths, str) else paths:
        if is_missing(path):
            raise UserError(f"{flag} {path}: {message}".lstrip())


def add_fields(parser: argparse.ArgumentParser, cls: type, title: str) -> None:
    """Adds a flag for each field of a dataclass, and also `--no_<field>` for a bool.

    The metadata of a field has its `help`, to which the default is added. A flag that the user leaves out is not among
    the parsed arguments, so that the dataclass sets its default.

    Args:
        parser: the parser, which gets the flags as a group.
        cls: the dataclass.
        title: the title of the group in the help.
    """
    group = parser.add_argument_group(title)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        text = field.metadata["help"].replace("%", "%%") + f" (default: {field.default})"
        flag = f"--{field.name}"
        if kind is bool:
            group.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=text)
            group.add_argument(
                f"--no_{field.name}",
                action="store_false",
                dest=field.name,
                default=argparse.SUPPRESS,
                help=argparse.SUPPRESS,
            )
        elif typing.get_origin(kind) is typing.Literal:
            group.add_argument(flag, choices=typing.get_args(kind), default=argparse.SUPPRESS, help=text)
        else:
            group.add_argument(flag, type=kind, default=argparse.SUPPRESS, metavar=kind.__name__.upper(), help=text)


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, but got '{text}'") from None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, but got '{text}'") from None


def positive_int(text: str) -> int:
    """An argparse type: a whole number of 1 or more.

    Args:
        text: the argument of the flag.

    Returns:
        The number.

    Raises:
        argparse.ArgumentTypeError: the argument is no such number.
    """
    if not re.fullmatch(r"\d+", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, but got '{text}'")
    return int(text)


def whole_number(text: str) -> int:
    """An argparse type: a whole number of 0 or more.

    Args:
        text: the argument of the flag.

    Returns:
        The number.

    Raises:
        argparse.ArgumentTypeError: the argument is no such number.
    """
    if not re.fullmatch(r"\d+", text):
        raise argparse.ArgumentTypeError(f"must be a whole number of 0 or more, but got '{text}'")
    return int(text)


def run(main: Callable[[], int | None]) -> Never:
    """Runs a command and ends the process with an exit status.

    The status is 0 for success, 1 for a failure, 2 for a mistake of the user, and after an interruption that of its
    signal: 130 for Ctrl-C, 143 for SIGTERM. A reader of the output that ends, such as `head`, does not end the command.

    Args:
        main: the command. Its return value is the exit status; None stands for 0.

    Raises:
        SystemExit: always.
    """
    leaving = False

    def answer(number: int) -> None:
        if leaving:
            interrupts.leave()
        interrupts.interrupt(number)

    unraisable, sys.unraisablehook = sys.unraisablehook, _answer_later(sys.unraisablehook)
    atexit.register(_leave_at_once)
    try:
        with steady_output(), interrupts.answering(answer):
            try:
                surroundings.complete()
                status = main() or 0
            except KeyboardInterrupt as interrupt:
                leaving = True
                status = _say(_words_of(interrupt), interrupts.status())
            except Exception as error:
                status = _ending_of(error)
            leaving = True
    finally:
        sys.unraisablehook = unraisable
        _spare_the_terminal()
    sys.exit(status)


def _ending_of(error: Exception) -> int:
    """Says what went wrong, and returns the exit status. An error that is a bug is raised again."""
    if isinstance(error, UserError):
        return _say(f"error: {error}", 2)
    if isinstance(error, JobError):
        return _say(f"error: {error}", 1)
    if isinstance(error, OSError) and error.filename is not None and error.errno in NOT_BUGS:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else error.filename
        return _say(f"error: {name}: {_advice(error)}", 2)
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return _say("error: no folder for temporary files can be written to; set TMPDIR to one", 2)
    raise error


NOT_BUGS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP,
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE,
}  # fmt: skip
"""The errors of a file that its disk or its owner has to mend."""


def _advice(error: OSError) -> str:
    why = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({why}); free some space, then start the same command again"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"too many files are open ({why}); raise the limit (`ulimit -n 65536`)"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"cannot be used as it is ({why}); choose another path, or start the command in a folder that can be "
            "written to"
        )
    return f"cannot be used as it is ({why}); choose another path"


def _words_of(interrupt: BaseException) -> str:
    """The text of an interruption; a second one during the first one's cleaning up has that of the first."""
    seen: BaseException | None = interrupt
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt) and str(seen):
            return str(seen)
        seen = seen.__context__
    return "interrupted"


def _answer_later(usual: Callable[..., object]) -> Callable[..., object]:
    """Returns a hook for exceptions in `__del__` and the like, where an interruption would be lost with a traceback."""

    def hook(unraisable: sys.UnraisableHookArgs) -> object:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            interrupts.again()
            return None
        return usual(unraisable)

    return hook


def _spare_the_terminal() -> None:
    """Keeps colorama, which Ray imports, from writing an escape sequence to the terminal at the end of the process."""
    colorama: Any = sys.modules.get("colorama.initialise")
    if colorama is not None:
        atexit.unregister(colorama.reset_all)


def _leave_at_once() -> None:
    """Lets signals during the end of the process end it without a traceback."""
    for number, handler in interrupts.handlers().items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda *_: interrupts.leave())


def _say(message: object, status: int) -> int:
    print(message, file=sys.stderr)  # noqa: T201
    return status


def _with_underscores(arg: str) -> str:
    if not arg.startswith("--"):
        return from_home(arg)
    flag, equals, value = arg.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + from_home(value)


def add_labels(flags: Parser) -> None:
    """Adds `--labels`, which names the label set of faces."""
    flags.add_argument(
        "--labels",
        metavar="SET",
        help="label set: fer2013, ferplus, affectnet, rafdb, ckplus, folders (what they are called), or a file of "
        "classes; left out: that of the data",
    )


def add_exclude(flags: Parser, what: str) -> None:
    """Adds `--exclude`, which takes lists of faces. `what` is its help."""
    flags.add_argument("--exclude", nargs="+", metavar="FILE", help=what)


def add_votes(flags: Parser, what: str) -> None:
    """Adds `--votes` and `--votes_as`. `what` is the help of the latter."""
    flags.add_argument(
        "--votes",
        metavar="CSV",
        help="votes of several taggers, such as FER+'s fer2013new.csv, in place of the labels; by majority, the class "
        "of most votes counts (`encode --labels ferplus` wants more than half of them)",
    )
    flags.add_argument("--votes_as", choices=("majority", "distribution"), default="majority", help=what)


def add_fractions(flags: Parser, what: str) -> None:
    """Adds `--val_fraction`, `--test_fraction` and `--split_seed`, which take missing splits out of the training data.

    Args:
        flags: the parser.
        what: the rows of which a share is taken, such as "pictures".
    """
    for split in ("val", "test"):
        flags.add_argument(
            f"--{split}_fraction",
            type=float,
            help=f"share of the training {what} that becomes a split {split} where there is none, such as 0.1",
        )
    flags.add_argument("--split_seed", type=whole_number, default=0, help="seed of what these two take")
