"""The common frame of all programs: options, one-line errors, exit codes.

Ref: sysexits.h; `-f FILE`, `-V`, `-VV`, `-d LEVEL` are modelled on MeTA1's programs.
"""

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn

import meta1g
from meta1g.base import logturn, sysexits
from meta1g.base.errors import BugError, Meta1Error, TempError


class CliError(Exception):
    """A program ends with one line on standard error.

    Args:
        text: what is wrong and what to do about it.
        exit_code: one of sysexits.
    """

    def __init__(self, text: str, exit_code: int = sysexits.EX_CONFIG) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def code_of(error: Meta1Error | OSError) -> int:
    """Gives the exit code that an error stands for, the same in all programs.

    Args:
        error: what kept a program from its work; what was forbidden counts, wherever in its causes it stands.
    """
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, CliError):
            return one.exit_code
        if isinstance(one, OSError) and one.errno in (errno.EACCES, errno.EPERM):
            return sysexits.EX_NOPERM
        one = one.__cause__
    return sysexits.EX_TEMPFAIL if isinstance(error, TempError) else sysexits.EX_CONFIG


#: Width of help where there is no terminal.
_USUAL_COLUMNS: Final = 80


class _Formatter(argparse.HelpFormatter):
    """Lays out help as wide as the terminal; argparse would load a library of archives, in each process, to learn its width."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """Gives the width of the terminal as shutil.get_terminal_size() does."""
    word = os.environ.get("COLUMNS", "")
    if word.isdecimal() and int(word):
        return int(word)
    try:
        return os.get_terminal_size(1).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


class Parser(argparse.ArgumentParser):
    """Command line of one program; a wrong one exits with EX_USAGE."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": _Formatter, **options})

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with EX_USAGE."""
        sys.stderr.write(f"{self.prog}: {message}; see {self.prog} --help\n")
        raise SystemExit(sysexits.EX_USAGE)


def parser(prog: str, description: str) -> Parser:
    """Makes a parser that knows --help and -V."""
    made = Parser(prog=prog, description=description)
    made.add_argument("-V", "--version", action="version", version=f"{prog} of meta1g {meta1g.__version__}")
    return made


def run_program(prog: str, main: Callable[[list[str]], int], argv: list[str] | None = None) -> int:
    """Runs a program's main function and turns its errors into one line and an exit code.

    Args:
        prog: name for the error line.
        main: takes the arguments without the program's name, gives the exit code.
        argv: these arguments; None for those of this process.
    """
    try:
        return main(sys.argv[1:] if argv is None else argv)
    except CliError as error:
        text, code = str(error), error.exit_code
    except BugError:
        raise
    except Meta1Error as error:
        text, code = error.cause, code_of(error)
    except PermissionError as error:
        text, code = f"{error.filename or error}: permission denied; run as its owner or mend its mode", code_of(error)
    except BrokenPipeError:
        return sysexits.EX_OK
    except KeyboardInterrupt:
        return 130
    sys.stderr.write(f"{prog}: {text}\n")
    return code


def end_program(prog: str, main: Callable[[list[str]], int]) -> NoReturn:
    """Runs a program as run_program() does and ends the process; for those that close what they opened.

    The interpreter is not taken down object by object: that is a good part of the time that a server takes to stop, and
    threads that are left in a look-up could hold it up.
    """
    code = run_program(prog, main)
    logturn.flush_all()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
