"""A filter with a configuration file, as a program: its options, its file that is read again at SIGHUP, what it logs.

    def build(options, log):
        return MyFilter(options.file, read_settings, log)

    run_configured("myfilter", "Refuses what the file says.", Path("/etc/meta1/myfilter.conf"), build)

Ref: docs/pmilter.md; the conventions of the programs of meta1g (`-f FILE`, `-c`, `-d LEVEL`).
"""

import argparse
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from meta1g.base import cli, sysexits
from meta1g.base.errors import Meta1Error
from meta1g.base.log import Log
from meta1g.pmilter.callbacks import Pmilter
from meta1g.pmilter.place import FORMS, parse_place
from meta1g.pmilter.program import FilterProcess
from meta1g.pmilter.session import PmSession

FileSettings = TypeVar("FileSettings")


class ConfiguredFilter(Pmilter, Generic[FileSettings]):
    """A filter whose settings stand in a file.

    Args:
        path: the file.
        read: reads it.
        log: of the program.

    Attributes:
        settings: what the file says; replaced as a whole, so a session that keeps them goes on with those it began with.
        log: the same.

    Raises:
        Meta1Error: the file is wrong.
    """

    def __init__(self, path: Path, read: Callable[[Path], FileSettings], log: Log) -> None:
        self._path = path
        self._read = read
        self.settings = read(path)
        self.log = log

    def signal(self, signum: int) -> None:
        """Reads the file again at SIGHUP; if it is wrong all stays as it is.  Blocks: yes (disk)."""
        if signum != signal.SIGHUP:
            return
        try:
            self.settings = self._read(self._path)
        except Meta1Error as error:
            for line in error.cause.splitlines():
                self.log.error("pmilter.conf_wrong", line, name=self.name, path=str(self._path))
            return
        self.log.notice("pmilter.conf", "ok", name=self.name, path=str(self._path))

    def note(self, session: PmSession, what: str, key: str, *, rcpt: str | None = None) -> None:
        """Logs what was decided.

        Args:
            session: about which session, and transaction if there is one.
            what: that was decided.
            key: why: the place of a rule, a score.
            rcpt: about which recipient, None for all of it.
        """
        ta = session.transaction
        self.log.info(
            "pmilter.decided",
            what,
            name=self.name,
            key=key,
            ss_sess=session.id,
            ss_ta=None if ta is None else ta.ta_id,
            client=session.client_addr or None,
            ehlo=session.helo or None,
            mail=None if ta is None else ta.mail,
            rcpt=rcpt,
        )

    def no_answer(self, session: PmSession, server: str, cause: str) -> None:
        """Logs that a program that the filter asks gives no answer.

        Args:
            session: for which it was asked.
            server: where it listens.
            cause: what was instead.
        """
        ta = session.transaction
        self.log.warn(
            "pmilter.no_answer",
            cause,
            name=self.name,
            server=server,
            ss_sess=session.id,
            ss_ta=None if ta is None else ta.ta_id,
        )

    def trouble(self, what: str, path: str) -> None:
        """Logs what the filter cannot do, which costs no mail.

        Args:
            what: it cannot, and why.
            path: the file that it is about.
        """
        self.log.error("pmilter.trouble", what, name=self.name, path=path)


def configured_parser(name: str, description: str, file: Path) -> argparse.ArgumentParser:
    """Makes the command line of a filter with a configuration file.

    Args:
        name: of the program.
        description: one sentence.
        file: its configuration unless another one is named.
    """
    parser = cli.parser(name, description)
    parser.add_argument("socket", metavar="SOCKET", nargs="?", help=f"where the filter listens: {FORMS}")
    parser.add_argument(
        "-f", dest="file", type=Path, default=file, metavar="FILE", help="configuration file; %(default)s by default"
    )
    parser.add_argument("-c", dest="check", action="store_true", help="check the configuration file, then leave")
    parser.add_argument(
        "-d", dest="level", type=int, default=9, metavar="LEVEL", help="log lines up to this severity, 0 to 20; 9 by default"
    )
    return parser


def run_configured(parser: argparse.ArgumentParser, build: Callable[[Any, Log], Pmilter]) -> NoReturn:
    """Runs a filter with a configuration file as a program and ends the process.  Blocks: yes (until SIGTERM or SIGINT).

    Args:
        parser: made by configured_parser(), perhaps with more options.
        build: makes the filter of the options; raises Meta1Error if the file is wrong.
    """

    def main(arguments: list[str]) -> int:
        options = parser.parse_args(arguments)
        if options.socket is None and not options.check:
            parser.error("the socket is missing")
        place = None if options.socket is None else parse_place(options.socket)
        log = Log(parser.prog, level=options.level)
        pmilter = build(options, log)
        if place is not None and not options.check:
            FilterProcess(pmilter, place, log).run()
        return sysexits.EX_OK

    cli.end_program(parser.prog, main)
