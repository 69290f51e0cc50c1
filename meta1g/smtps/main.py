"""The SMTP server program.

Ref: MeTA1 design, "Functional Specification: SMTPS" (modelled on); start-up by mcp through META1G_ALIVE_FD and
META1G_READY_FD, socket by `start_action = pass`.
"""

import os
import signal
import socket
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths
from meta1g.base.clock import SystemClock
from meta1g.base.errors import Meta1Error
from meta1g.base.ids import PROCESS_INDEX_MAX, IdGenerator
from meta1g.base.log import Log
from meta1g.conf.load import Config, Section, load_file
from meta1g.db.cdb import Cdb
from meta1g.rcb.mcp_child import PassFd
from meta1g.rcb.smtps_qmgr import SmtpsHello
from meta1g.rcb.smtps_smar import SmtpsHelloA
from meta1g.smtps.context import Context
from meta1g.smtps.limits import US
from meta1g.smtps.listen import bind_all
from meta1g.smtps.qmgr_link import QmgrLink
from meta1g.smtps.server import Server
from meta1g.smtps.settings import settings_from
from meta1g.smtps.smar_link import SmarLink
from meta1g.st import (
    ST_UTIME_NO_TIMEOUT,
    StError,
    run_forever,
    st_init,
    st_netfd_open,
    st_read,
    st_thread_create,
    st_usleep,
    stop,
)
from meta1g.st.fdpass import serve_pass_fd
from meta1g.st.signals import on_signal

ALIVE_FD_VARIABLE: Final = "META1G_ALIVE_FD"
READY_FD_VARIABLE: Final = "META1G_READY_FD"
_POLL_US: Final = US // 50


class Program:
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
        hostname = config.hostname or socket.getfqdn()
        settings = settings_from(config, section, hostname)
        queue = config.queue_directory
        hello_q = SmtpsHello(smtps_id=index, name=settings.name, pid=os.getpid(), max_threads=settings.max_threads)
        hello_a = SmtpsHelloA(smtps_id=index, name=settings.name)
        clock = SystemClock()
        self.context = Context(
            settings=settings,
            qmgr=QmgrLink(queue / paths.QMGR_SMTPS_SOCKET, hello_q, log),
            smar=SmarLink(queue / paths.SMAR_SMTPS_SOCKET, hello_a, log),
            cdb=Cdb(queue / paths.CDB_DIRECTORY),
            ids=IdGenerator("S", index, clock),
            log=log,
            clock=clock,
        )
        self.server = Server(self.context)

    def run(self) -> None:
        """Serves until SIGTERM comes or mcp ends.  Switches: yes (main loop)."""
        on_signal(signal.SIGTERM, self._stop)
        on_signal(signal.SIGINT, self._stop)
        on_signal(signal.SIGUSR1, self.context.log.reopen)
        self.context.qmgr.start()
        self.context.smar.start()
        self._listen()
        st_thread_create(self._watch_mcp, None)
        st_thread_create(self._tell_ready, None)
        run_forever()

    def _listen(self) -> None:
        queue = self._config.queue_directory
        if self._section.get("start_action") == "pass":
            serve_pass_fd(queue / self._section.get("pass_fd_socket"), self._take)
            return
        for sock in bind_all(self._section, queue):
            self.server.serve(sock)

    def _take(self, sock: socket.socket, message: PassFd) -> None:
        self.server.serve(sock)

    def _stop(self) -> None:
        self.server.stop()
        stop()

    def _watch_mcp(self, arg: object) -> None:
        """Stops when mcp is gone."""
        number = os.environ.get(ALIVE_FD_VARIABLE)
        if number is None:
            return
        nfd = st_netfd_open(int(number))
        try:
            while st_read(nfd, 1, ST_UTIME_NO_TIMEOUT):
                pass
        except StError as error:
            self.context.log.error("smtps.mcp", str(error))
        self.context.log.notice("smtps.mcp", "mcp is gone")
        self._stop()

    def _tell_ready(self, arg: object) -> None:
        """Reports readiness as soon as both peers are there, or have been waited for."""
        end_s = self.context.clock.monotonic() + self._section.get("wait_for_server")
        while not (self.context.qmgr.up and self.context.smar.up) and self.context.clock.monotonic() < end_s:
            st_usleep(_POLL_US)
        number = os.environ.get(READY_FD_VARIABLE)
        if number is not None:
            os.write(int(number), b"1")
            os.close(int(number))


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Args:
        argv: arguments without the program's name.

    Raises:
        Meta1Error: the configuration is wrong.
        CliError: a socket cannot be bound.
    """
    parser = cli.parser("smtps", "SMTP server of meta1g; usually started by mcp.")
    parser.add_argument("-f", "--config", type=Path, default=paths.DEFAULT_CONFIG_FILE, metavar="FILE", help="configuration")
    parser.add_argument("-n", "--name", default=None, help="name of the smtps section")
    parser.add_argument("-i", "--index", type=int, default=0, help="process index, 0 to 255")
    options = parser.parse_args(argv)
    if not 0 <= options.index <= PROCESS_INDEX_MAX:
        parser.error(f"index must be 0 to {PROCESS_INDEX_MAX}")
    config = load_file(options.config)
    section = config.section("smtps", options.name)
    st_init()
    log = Log("smtps", level=section.get("log_level"))
    try:
        Program(config, section, options.index, log).run()
    except Meta1Error as error:
        log.fatal("smtps.main", error.cause)
        raise
    return 0


def run() -> None:
    """Entry point of the console script."""
    raise SystemExit(cli.run_program("smtps", main))


if __name__ == "__main__":
    run()
