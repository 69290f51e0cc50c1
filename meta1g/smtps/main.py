"""The SMTP server program.

Ref: MeTA1 design, "Functional Specification: SMTPS" (modelled on); sockets come from mcp with `start_action = pass`.
"""

import os
import signal
import socket
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from meta1g.base import cli, failure, paths, startup
from meta1g.base.clock import Clock, SystemClock
from meta1g.base.errors import Meta1Error, Module, PermError
from meta1g.base.hostname import system_name
from meta1g.base.ids import IdGenerator
from meta1g.base.log import Log
from meta1g.base.tlsfacts import TlsSettings
from meta1g.base.unixsock import UnixListener
from meta1g.conf.load import Config, Section, load_file
from meta1g.db.cdb import Cdb
from meta1g.rcb.mcp_child import PassFd
from meta1g.rcb.smtps_qmgr import SmtpsHello
from meta1g.rcb.smtps_smar import SmtpsHelloA
from meta1g.smtps import limits
from meta1g.smtps.authsettings import AuthSettings, auth_settings
from meta1g.smtps.context import Context
from meta1g.smtps.filterstats import FilterStats
from meta1g.smtps.gate import Gate
from meta1g.smtps.limits import FILTER_DESCRIPTORS, SESSION_DESCRIPTORS, SPARE_DESCRIPTORS, US
from meta1g.smtps.listen import bind_all, doors_of
from meta1g.smtps.milters import PolicySettings
from meta1g.smtps.qmgr_link import QmgrLink
from meta1g.smtps.server import Server
from meta1g.smtps.settings import ClientSettings, settings_from
from meta1g.smtps.smar_link import SmarLink
from meta1g.st import (
    POLLIN,
    ST_UTIME_NO_TIMEOUT,
    run_forever,
    set_error_hook,
    st_getfdlimit,
    st_init,
    st_netfd_close,
    st_netfd_open,
    st_netfd_poll,
    st_thread_create,
    st_usleep,
    stop,
)
from meta1g.st.fdpass import serve_pass_fd
from meta1g.st.netfd import NetFd
from meta1g.st.signals import on_signal
from meta1g.st.turnlog import collect_lines

if TYPE_CHECKING:
    from meta1g.smtps.auth import AuthServer
    from meta1g.smtps.certificates import Certificates
    from meta1g.smtps.passed import Passed
    from meta1g.smtps.policylink import PolicyLink

_POLL_US: Final = US // 50


class SmtpsProcess:
    """The process put together.

    Args:
        config: the configuration.
        section: the smtps section to serve.
        index: process index, part of all ids.
        log: the log.

    Owner: the process.
    """

    def __init__(self, config: Config, section: Section, index: int, log: Log) -> None:
        self._config = config
        self._section = section
        hostname = config.hostname or system_name()
        settings = settings_from(config, section, hostname)
        queue = config.queue_directory
        filters = len(section.subs("milter")) + bool(settings.policies)
        sessions_max = served_at_once(settings.max_threads, 2 * len(section.subs("listen_socket")), log, filters)
        hello_q = SmtpsHello(smtps_id=index, name=settings.name, pid=os.getpid(), max_threads=sessions_max)
        hello_a = SmtpsHelloA(smtps_id=index, name=settings.name, flags=int(settings.lookup_flags))
        clock = SystemClock()
        stats = FilterStats(clock)
        gate = Gate(clock, settings.wait_for_link_s)
        qmgr = QmgrLink(queue / paths.QMGR_SMTPS_SOCKET, hello_q, gate, log)
        smar = SmarLink(queue / paths.SMAR_SMTPS_SOCKET, hello_a, gate, log)
        self.context = Context(
            settings=settings,
            qmgr=qmgr,
            smar=smar,
            cdb=Cdb(queue / paths.CDB_DIRECTORY),
            passed=cache(lambda: _passed(queue / paths.PASSED_CLIENTS, clock, log)),
            ids=IdGenerator("S", index, clock),
            log=log,
            clock=clock,
            gate=gate,
            sessions_max=sessions_max,
            clients=ClientSettings(config, section, hostname),
            certificates=None if settings.tls is None else _certificates(settings.tls, log, clock, sessions_max, qmgr),
            auth_server=_auth_server(auth_settings(config, section.sub("auth")), smar, log, clock),
            filter_stats=stats,
            policies=_policy_links(settings.policies, hostname, log, stats) if settings.policies else (),
        )
        if settings.greet_pause_us:
            self.context.passed().open()
        self.server = Server(self.context)
        self._passing: NetFd | None = None

    def run(self) -> None:
        """Serves until SIGTERM comes or mcp ends.  Switches: yes (main loop)."""
        on_signal(signal.SIGTERM, self._stop)
        on_signal(signal.SIGINT, self._stop)
        on_signal(signal.SIGUSR1, self.context.log.reopen)
        failure.on_contained(self.context.qmgr.contained)
        self.context.qmgr.start()
        self.context.smar.start()
        for link in self.context.policies:
            link.start()
        for one in self._section.subs("milter"):
            self.context.filter_stats.of("milter", one.name or "")
        if self.context.policies or self._section.subs("milter"):
            st_thread_create(self._report_filters)
        self._listen()
        if startup.alive_fd() is not None:
            st_thread_create(self._watch_mcp, startup.alive_fd())
        st_thread_create(self._tell_ready)
        if self.context.certificates is not None:
            st_thread_create(self.context.certificates.watch)
        run_forever()

    def _listen(self) -> None:
        queue = self._config.queue_directory
        if self._section.get("start_action") == "pass":
            self._passing = serve_pass_fd(queue / self._section.get("pass_fd_socket"), self._take, self.context.log)
            return
        for sock, door in zip(bind_all(self._section, queue), doors_of(self._section), strict=True):
            self.server.serve(sock, door)

    def _take(self, sock: socket.socket, message: PassFd) -> None:
        doors = doors_of(self._section)
        if message.index >= len(doors):
            raise PermError(Module.SMTPS, f"{self._section.where}: there is no listen_socket number {message.index + 1}")
        self.server.serve(sock, doors[message.index])
        if message.index + 1 == message.count and (self._section.get("processes") or 1) > 1:
            self._leave_name()

    def _leave_name(self) -> None:
        """Leaves the name of the socket for descriptors to the next process of the section: mcp serves one after the other."""
        nfd, self._passing = self._passing, None
        if nfd is not None:
            cast("UnixListener", nfd.sock).unlink()
            st_netfd_close(nfd)

    def _stop(self) -> None:
        """Stops in order; the second time, or when mcp ends meanwhile, the first one goes on.  Switches: yes (waits)."""
        if self.context.stopping:
            return
        failure.steps(self.context.log, "smtps.stop", self.server.stop, stop)

    def _watch_mcp(self, fd: int) -> None:
        """Stops when mcp is gone.  Switches: yes (poll)."""
        st_netfd_poll(st_netfd_open(fd), POLLIN, ST_UTIME_NO_TIMEOUT)
        self.context.log.notice("smtps.mcp", "mcp is gone, stopping")
        self._stop()

    def _report_filters(self, arg: object) -> None:
        """Tells QMGR what the filters do, for ever.  Switches: yes."""
        while True:
            st_usleep(limits.FILTER_REPORT_US)
            for report in self.context.filter_stats.news():
                self.context.qmgr.filter_report(report)

    def _tell_ready(self, arg: object) -> None:
        """Reports readiness as soon as both peers are there, or have been waited for.  Switches: yes."""
        end_s = self.context.clock.monotonic() + self._section.get("wait_for_server")
        while not (self.context.qmgr.up and self.context.smar.up) and self.context.clock.monotonic() < end_s:
            st_usleep(_POLL_US)
        startup.tell_ready()


def _passed(path: Path, clock: Clock, log: Log) -> "Passed":
    from meta1g.smtps.passed import Passed

    return Passed(path, clock, log)


def _certificates(settings: TlsSettings, log: Log, clock: Clock, sessions_max: int, qmgr: QmgrLink) -> "Certificates":
    from meta1g.smtps.certificates import Certificates

    return Certificates(settings, log, clock, sessions_max, qmgr.trouble)


def _auth_server(settings: AuthSettings | None, smar: SmarLink, log: Log, clock: Clock) -> "AuthServer | None":
    if settings is None:
        return None
    from meta1g.smtps.auth import AuthServer

    return AuthServer(settings, smar, log, clock)


def _policy_links(
    policies: tuple[PolicySettings, ...], hostname: str, log: Log, stats: FilterStats
) -> "tuple[PolicyLink, ...]":
    from meta1g.smtps.policylink import PolicyLink

    return tuple(PolicyLink(one, hostname, log, stats.of("policy_milter", one.name)) for one in policies)


def served_at_once(max_threads: int, listeners: int, log: Log, filters: int = 0) -> int:
    """Gives how many sessions this process can serve at the same time: as many as the option says and descriptors allow.

    Args:
        max_threads: the option.
        listeners: listening sockets that are still to come.
        log: a limit that is too low for it is told.
        filters: that a session may be connected to.
    """
    limit = st_getfdlimit()
    free = limit - SPARE_DESCRIPTORS - listeners - sum(1 for _ in Path("/proc/self/fd").iterdir())
    of_one = SESSION_DESCRIPTORS + (filters + FILTER_DESCRIPTORS if filters else 0)
    possible = max(1, free // of_one)
    if possible < max_threads:
        text = f"{limit} descriptors are too few for max_threads = {max_threads}; raise the limit of open files"
        log.warn("smtps.limit", text, limit=possible)
    return min(max_threads, possible)


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Args:
        argv: arguments without the program's name.

    Raises:
        Meta1Error: the configuration is wrong.
        CliError: a socket cannot be bound.

    Switches: yes.
    """
    arguments = startup.component_arguments("smtps", argv, "The SMTP server of meta1g; usually started by mcp.")
    if arguments.check:
        from meta1g.smtps.check import check

        return check(arguments)
    config = load_file(arguments.file, lenient=arguments.lenient, data=startup.configuration())
    section = config.section("smtps", arguments.name)
    log = startup.open_log("smtps", config.glob, section, config.queue_directory)
    st_init()
    collect_lines(log)
    set_error_hook(lambda error: failure.end_process(log, "smtps.thread", error))
    try:
        SmtpsProcess(config, section, arguments.index, log).run()
    except Meta1Error as error:
        log.fatal("smtps.main", error.cause)
        raise
    return 0


def run() -> None:
    """Entry point of the console script."""
    cli.end_program("smtps", main)


if __name__ == "__main__":
    run()
