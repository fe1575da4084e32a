"""What all commands share: flags with `-` or `_`, one-line errors, exit status."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import Never

from fervit.errors import JobError, UserError


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default where there is one: "(default: None)" says nothing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, []) else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose help shows the defaults and whose errors are one line.

    Flags are declared with `_`; the user may write each with `-` or `_`.
    """

    def __init__(self, description: str, epilog: str | None = None) -> None:
        super().__init__(
            description=description,
            epilog=epilog,
            formatter_class=_Help,
            allow_abbrev=False,
        )

    def parse(self, args: Sequence[str] | None = None) -> argparse.Namespace:
        given = sys.argv[1:] if args is None else args
        return self.parse_args([_with_underscores(arg) for arg in given])

    def error(self, message: str) -> Never:
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def positive_int(text: str) -> int:
    """An argparse type: a whole number of 1 or more."""
    if not re.fullmatch(r"\d+", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, but got '{text}'")
    return int(text)


def run(main: Callable[[], int | None]) -> Never:
    """Runs a command's `main` and leaves with its status: 0 done, 1 failed, 2 bad usage or input, 130 interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what is piped into a file can be followed there
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
    except BrokenPipeError:  # the reader of our output, `head` say, has gone
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
