"""The parts that all commands share: flags with `-` or `_`, errors of one line, and exit statuses."""

from __future__ import annotations

import argparse
import dataclasses
import io
import re
import signal
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Never

from fervit.errors import NEEDS_UNIX, JobError, UserError

if sys.platform == "win32":
    sys.stderr.write(f"error: {NEEDS_UNIX}\n")
    sys.exit(2)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """A help formatter that shows defaults, except for those that tell nothing, such as "(default: None)"."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return (
            action.help if action.default in (None, False, [], argparse.SUPPRESS) else super()._get_help_string(action)
        )


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

    def parse(self, args: Sequence[str] | None = None) -> argparse.Namespace:
        """Reads the flags, written with `-` or `_`.

        Args:
            args: the arguments of the command; None for those of `sys.argv`.

        Returns:
            The values under the names of the flags.

        Raises:
            SystemExit: with status 2 and one line after a mistake, and with status 0 after `--help`.
        """
        given = sys.argv[1:] if args is None else args
        return self.parse_args([_with_underscores(arg) for arg in given])

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

    def error(self, message: str) -> Never:
        """Ends the command with a line on standard error.

        Args:
            message: the description of the mistake.

        Raises:
            SystemExit: with status 2.
        """
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


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

    The status is 0 for success, 1 for a failure, 2 for a mistake of the user, and 130 after an interruption.

    Args:
        main: the command. Its return value is the exit status; None stands for 0.

    Raises:
        SystemExit: always.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # so that output in a file or a pipe can be followed
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.default_int_handler)  # the notice of a time limit, answered as Ctrl-C
    try:
        status = main() or 0
    except UserError as error:
        status = _say(error, 2)
    except JobError as error:
        status = _say(error, 1)
    except (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        status = _say(f"{error.filename}: cannot be used as it is ({error.strerror}); choose another path", 2)
    except KeyboardInterrupt as interrupt:
        status = _say(str(interrupt) or "interrupted", 130)
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        sys.stderr.close()
        status = 1
    sys.exit(status)


def _say(message: object, status: int) -> int:
    print(f"error: {message}" if status != 130 else message, file=sys.stderr)  # noqa: T201
    return status


def _with_underscores(arg: str) -> str:
    if not arg.startswith("--"):
        return arg
    flag, equals, value = arg.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value
