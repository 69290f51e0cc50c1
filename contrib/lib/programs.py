"""The command lines of all programs, as their own argparse has them: manual pages, completion and tests are made from these.

A program is an entry of console_scripts in setup.cfg.  Its main function is called, and stopped where it would read its
arguments: so a program has nothing to do for its page, and its page cannot say anything else than the program.
"""

import argparse
import configparser
import importlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NoReturn
from unittest import mock

ROOT: Final = Path(__file__).resolve().parents[2]
_READERS: Final = ("parse_args", "parse_known_args", "parse_intermixed_args", "parse_known_intermixed_args")


class _Found(BaseException):
    """Carries the parser out of a program."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__(parser.prog)
        self.parser = parser


def _stop(parser: argparse.ArgumentParser, *_arguments: object, **_options: object) -> NoReturn:
    raise _Found(parser)


@cache
def console_scripts() -> dict[str, str]:
    """Gives what setup.cfg installs: the place (`module:function`) of each program by its name."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options.entry_points"]["console_scripts"].strip().splitlines()
    return {name.strip(): place.strip() for name, _, place in (line.partition("=") for line in lines)}


def _entry(program: str) -> Callable[[], object]:
    module, _, function = console_scripts()[program].partition(":")
    return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]


@cache
def parser_of(program: str) -> argparse.ArgumentParser:
    """Gives the parser of a program.

    Raises:
        KeyError: setup.cfg has no such program.
        RuntimeError: the program reads its command line in another way than by argparse.
    """
    with mock.patch.multiple(argparse.ArgumentParser, **dict.fromkeys(_READERS, _stop)):
        try:
            with mock.patch("sys.argv", [program]):
                _entry(program)()
        except _Found as found:
            return found.parser
    raise RuntimeError(f"{program}: {console_scripts()[program]} does not read its command line by argparse")


def actions(program: str) -> Iterator[argparse.Action]:
    """Gives options and arguments of a program, those left out that its --help hides."""
    return (action for action in parser_of(program)._actions if action.help != argparse.SUPPRESS)  # noqa: SLF001


def value_of(action: argparse.Action) -> str:
    """Gives the name of an option's value or of an argument as --help has it; empty if an option takes none."""
    if action.nargs == 0:
        return ""
    if action.metavar is not None:
        return str(action.metavar)
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper() if action.option_strings else action.dest


def help_of(action: argparse.Action, program: str) -> str:
    """Gives the help text of an action with its defaults in it."""
    return parser_of(program)._get_formatter()._expand_help(action) if action.help else ""  # noqa: SLF001


def exclusive(program: str) -> list[list[argparse.Action]]:
    """Gives the groups of which one member may be given."""
    return [group._group_actions for group in parser_of(program)._mutually_exclusive_groups]  # noqa: SLF001


if __name__ == "__main__":
    for name in console_scripts():
        print(name, [action.option_strings or action.dest for action in actions(name)])
