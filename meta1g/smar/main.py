"""SMAR: the address resolver process.

It tells SMTPS whether clients, senders and recipients are welcome, and QMGR where mail goes.

Ref: MeTA1 design, "Functional Specification: SMAR" (modelled on).
"""

import os
import signal
from typing import TYPE_CHECKING

from meta1g.base import cli, failure, hostname, paths, startup
from meta1g.base.accounts import access_for, account_of
from meta1g.base.log import Log
from meta1g.conf.config import Config, Section
from meta1g.conf.load import load_file
from meta1g.maps.watch import Loader
from meta1g.pt import alive, signals
from meta1g.pt.evthr import Evthr
from meta1g.pt.rcblisten import RcbListener
from meta1g.pt.turnlog import collect_lines
from meta1g.pt.workers import Workers
from meta1g.rcb import qmgr_smar, smtps_smar
from meta1g.rcb.tlssession import TlsSession
from meta1g.smar.clientname import ClientNames
from meta1g.smar.dane import Dane
from meta1g.smar.dnsbl import DnsLists
from meta1g.smar.limits import HARD_THREADS, LOOKUPS_MAX, SOFT_THREADS, WORKERS_SPARE
from meta1g.smar.recipient import Recipients
from meta1g.smar.resolver import Resolver
from meta1g.smar.server import Offload, QmgrService, SmtpsService
from meta1g.smar.settings import Settings, settings_from
from meta1g.smar.tlspolicies import PolicySource, TlsPolicies
from meta1g.smar.turns import Turns

if TYPE_CHECKING:
    from meta1g.smar.tlsoutside import TlsOutside


class Smar:
    """The process.

    Args:
        config: the configuration.
        section: the section of this process.
        log: the log of the process.

    Raises:
        PermError: a map or a socket cannot be used.

    Owner: the process; its main thread makes and runs it.
    """

    def __init__(self, config: Config, section: Section, log: Log) -> None:
        self._log = log
        self._loader = Workers(1, name="map loader", log=log)
        self._settings = settings = settings_from(config, section, log, Loader(self._loader.submit, log))
        self._evthr = Evthr(soft_threads=SOFT_THREADS, hard_threads=HARD_THREADS, log=log)
        self._workers = Workers(WORKERS_SPARE + LOOKUPS_MAX * settings.blocking_maps, name="look-up", log=log)
        turns = Turns(self._evthr, log)
        self._resolver = Resolver(self._evthr, settings.dns, log, turns)
        self._outside: TlsOutside | None = None
        offload = Offload(self._workers, log, turns, self._evthr)
        lists = DnsLists(self._evthr, self._resolver, settings.lists, log)
        policies = self._policies(settings)
        recipients = Recipients(
            settings.routes, settings.aliases, self._resolver, settings.hostname, log, settings.myself, policies
        )
        names = ClientNames(self._evthr, self._resolver, log)
        self._smtps = SmtpsService(settings.policy, names, lists, offload, log)
        self._qmgr = QmgrService(recipients, offload, log, settings.policy.conf, self._counted)
        self._listeners = self._listen(config)

    def _policies(self, settings: Settings) -> TlsPolicies | None:
        """Makes what finds out the TLS policies of servers; None if nobody says anything about them, nor counts sessions."""
        dane = Dane(self._resolver) if settings.dns.validated else None
        sources: list[PolicySource] = [] if dane is None else [dane]
        if settings.sts is not None or settings.reports is not None:
            from meta1g.smar.tlsoutside import TlsOutside

            self._outside = TlsOutside(self._evthr, self._resolver, settings, self._log)
            sources += self._outside.sources
        table, counted = settings.policy_map, settings.reports is not None
        if not sources and table is None and not counted:
            return None
        return TlsPolicies(sources, self._log, table, dane, counted=counted)

    def _counted(self, session: TlsSession) -> None:
        if self._outside is not None and self._outside.counts is not None:
            self._outside.counts.add(session)

    def _listen(self, config: Config) -> list[RcbListener]:
        queue = config.queue_directory
        smtps = access_for(account_of(one, "smtps") for one in config.sections("smtps"))
        qmgr = access_for([account_of(config.glob.sub("qmgr"), "qmgr")])
        return [
            RcbListener(
                self._evthr,
                queue / path,
                protocol,
                on_connect=on_connect,
                access=access,
                log=self._log,
            )
            for path, protocol, on_connect, access in (
                (paths.SMAR_SMTPS_SOCKET, smtps_smar.PROTOCOL, self._smtps.on_connect, smtps),
                (paths.SMAR_QMGR_SOCKET, qmgr_smar.PROTOCOL, self._qmgr.on_connect, qmgr),
            )
        ]

    def run(self) -> None:
        """Serves until it is told to stop.  Blocks: yes (until then)."""
        collect_lines(self._log)
        signals.on_signal(self._evthr, signal.SIGTERM, self.stop)
        signals.on_signal(self._evthr, signal.SIGINT, self.stop)
        signals.on_signal(self._evthr, signal.SIGUSR1, self._log.reopen)
        alive.watch_alive(self._evthr, self._mcp_is_gone)
        failure.on_contained(self._qmgr.contained)
        startup.tell_ready()
        self._log.info("smar.start", "ok", server=" ".join(str(one) for one in self._settings.dns.servers))
        try:
            self._evthr.loop()
        finally:
            failure.on_contained(None)
            failure.steps(
                self._log,
                "smar.stop",
                lambda: self._workers.close(timeout_s=0.0),
                lambda: self._loader.close(timeout_s=0.0),
                *(() if self._outside is None else (self._outside.close,)),
                signals.signals_of(self._evthr).close,
                self._settings.registry.close,
            )
        self._log.notice("smar.stop", "stopped")

    def stop(self) -> None:
        """Stops: no new connections, what was asked and is known is answered."""
        for listener in self._listeners:
            listener.close()
        self._resolver.close()
        self._evthr.stop()

    def _mcp_is_gone(self) -> None:
        self._log.notice("smar.mcp", "mcp is gone, stopping")
        self.stop()


def main(argv: list[str]) -> int:
    """Runs SMAR and gives its exit code."""
    arguments = startup.component_arguments("smar", argv, "The address resolver of meta1g.")
    if arguments.check:
        from meta1g.smar.check import check

        return check(arguments)
    config = load_file(arguments.file, lenient=arguments.lenient, data=startup.configuration())
    section = config.section("smar", arguments.name)
    log = startup.open_log("smar", config.glob, section, config.queue_directory)
    nameless = hostname.problem(config.hostname)
    for warning in (*config.warnings, *([nameless] if nameless else [])):
        log.warn("smar.conf", warning)
    os.chdir(config.queue_directory)
    Smar(config, section, log).run()
    return 0


def run() -> None:
    """Runs the program (console script)."""
    cli.end_program("smar", main)


if __name__ == "__main__":
    run()
