"""Blocking client of a control socket, used by qmgrctl and mailq.

Ref: MeTA1 design, "Functional Specification: QMGR, control" (modelled on).
"""

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

from meta1g.base import sysexits
from meta1g.base.cli import CliError
from meta1g.base.errors import UnsendableError
from meta1g.base.reply import printable
from meta1g.rcb.control import PROTOCOL, CommandResult, ControlCommand
from meta1g.tools.rcbcaller import RcbCaller

#: Some commands go through a million recipients.
TIMEOUT_S: Final = 600
#: Once its answers have taken so long in all, the process that is asked has so many times as much time for others.
_AT_ONCE_S: Final = 1.0
_REST: Final = 5
_PAUSE_MAX_S: Final = 0.4
_NICE: Final = 15
#: The word before where a page begins.
AFTER: Final = "--after"


class CommandFailedError(CliError):
    """The process could not do what was asked; the text is its answer."""


class ControlClient:
    """A connection to a control socket; a context manager.

    Args:
        path: the socket.
        who: names the process behind it, for errors.
        timeout_s: patience with an answer.

    Raises:
        CliError: nobody listens there, or it may not be used.

    Owner: the program.
    """

    def __init__(self, path: Path, who: str = "qmgr", timeout_s: float = TIMEOUT_S) -> None:
        self._who = who
        self._path = path
        try:
            self._caller = RcbCaller(path, PROTOCOL, timeout_s)
        except OSError as error:
            raise _advised(f"cannot reach {who} at {path}", error) from error

    def __enter__(self) -> "ControlClient":
        return self

    def __exit__(self, *exc: object) -> None:
        self._caller.close()

    def ask(self, *words: str) -> Any:
        """Sends a command and gives its result, all parts of a long list put together.

        Raises:
            CommandFailedError: the command was refused.
            CliError: the connection broke.
        """
        pages = self.pages(*words)
        result, _more = next(pages)
        for page, _more in pages:
            result += page
        return result

    def pages(self, *words: str, after: str = "") -> Iterator[tuple[Any, str]]:
        """Sends a command whose result is a long list and gives it page by page; raises as ask().

        Args:
            words: the command.
            after: where to begin, as a page before told; empty for the beginning.

        Returns:
            Rows (a page may be empty although others follow), and where the next page begins, empty for none.
        """
        return ((json.loads(answer.text), answer.more) for answer in self.answers(*words, after=after))

    def answers(self, *words: str, after: str = "") -> Iterator[CommandResult]:
        """Does what pages() does; gives the answers as they come."""
        more, sum_s, late = after, 0.0, False
        while True:
            begin_s = time.monotonic()
            answer = self._once((*words, AFTER, more) if more else words)
            came_s = time.monotonic()
            yield answer
            more = answer.more
            if not more:
                return
            sum_s += came_s - begin_s
            if sum_s >= _AT_ONCE_S:
                _step_back(came_s + _REST * (came_s - begin_s), first=not late)
                late = True

    def _once(self, words: tuple[str, ...]) -> CommandResult:
        try:
            answer = cast("CommandResult", self._caller.ask(ControlCommand(words=words)))
        except OSError as error:
            raise CliError(f"{self._who} at {self._path}: {error.strerror or error}", sysexits.EX_TEMPFAIL) from error
        except UnsendableError as error:
            raise CliError(f"an argument is no UTF-8, or too long: {printable(error.cause)}", sysexits.EX_USAGE) from error
        if answer.exit_code:
            raise CommandFailedError(answer.text, answer.exit_code)
        return answer


def _step_back(until_s: float, *, first: bool) -> None:
    """Leaves the machine to mail until a monotonic time: a long list has time."""
    if first:
        with contextlib.suppress(OSError):
            os.nice(_NICE)
    time.sleep(max(0.0, min(until_s - time.monotonic(), _PAUSE_MAX_S)))


def _advised(text: str, error: OSError) -> CliError:
    """Gives the error of a socket that cannot be connected to, with what to do."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return CliError(f"{text}: permission denied; run as root or as the account of the process", sysexits.EX_NOPERM)
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
        return CliError(f"{text}: it does not run; start it, or name its configuration with -f", sysexits.EX_UNAVAILABLE)
    return CliError(f"{text}: {error.strerror or error}", sysexits.EX_UNAVAILABLE)
