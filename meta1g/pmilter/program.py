"""A filter as a program: its socket, its log, its signals.

Ref: MeTA1 pmilter API (sm_pmfi_setconn, sm_pmfi_start, sm_pmfi_setdbg modelled on).
"""

import signal
from typing import NoReturn

from meta1g.base import cli, sysexits
from meta1g.base.listening import SocketPlace
from meta1g.base.log import Log
from meta1g.pmilter.callbacks import Pmilter
from meta1g.pmilter.place import FORMS, parse_place
from meta1g.pmilter.service import FilterService
from meta1g.pt import signals
from meta1g.pt.evthr import Evthr
from meta1g.pt.rcblisten import RcbListener
from meta1g.rcb.smtps_pmilter import PROTOCOL


class FilterProcess:
    """The process of a filter.

    Args:
        pmilter: the filter.
        where: see parse_place().
        log: its log.

    Raises:
        PermError: it cannot listen there.

    Owner: the process; its main thread makes and runs it.
    """

    def __init__(self, pmilter: Pmilter, where: SocketPlace, log: Log) -> None:
        self._pmilter = pmilter
        self._log = log
        self._evthr = Evthr(soft_threads=pmilter.thrmax_s, hard_threads=pmilter.thrmax_h + 1, log=log)  # one for connections
        service = FilterService(pmilter, self._evthr, log)
        self._listener = RcbListener(self._evthr, where, PROTOCOL, on_connect=service.on_connect, log=log)

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT.  Blocks: yes (until then)."""
        signals.on_signal(self._evthr, signal.SIGTERM, self.stop)
        signals.on_signal(self._evthr, signal.SIGINT, self.stop)
        signals.on_signal(self._evthr, signal.SIGHUP, lambda: self._pmilter.signal(signal.SIGHUP))
        self._log.info("pmilter.start", "ok", name=self._pmilter.name, listen=self._listener.name)
        try:
            self._evthr.loop()
        finally:
            signals.signals_of(self._evthr).close()
        self._log.info("pmilter.stop", "stopped", name=self._pmilter.name)

    def stop(self) -> None:
        """Stops: callbacks that run are finished."""
        self._listener.close()
        self._evthr.stop()


def run_filter(pmilter: Pmilter, argv: list[str] | None = None) -> NoReturn:
    """Runs a filter as a program and ends the process.  Blocks: yes (until SIGTERM or SIGINT).

    Args:
        pmilter: the filter.
        argv: its arguments, None for those of the process.
    """

    def main(arguments: list[str]) -> int:
        parser = cli.parser(pmilter.name, (type(pmilter).__doc__ or "A policy milter.").splitlines()[0])
        parser.add_argument("socket", metavar="SOCKET", help=FORMS)
        parser.add_argument(
            "-d", dest="level", type=int, default=9, help="log lines up to this severity, 0 to 20; 9 by default"
        )
        options = parser.parse_args(arguments)
        log = Log(pmilter.name, level=options.level)
        FilterProcess(pmilter, parse_place(options.socket), log).run()
        return sysexits.EX_OK

    cli.end_program(pmilter.name, main if argv is None else lambda _arguments: main(argv))
