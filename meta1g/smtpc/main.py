"""SMTPC: the SMTP and LMTP client process.

It takes deliveries from QMGR, reads content from CDB, and reports what became of each.  It never writes to a queue.

Ref: MeTA1 design, "Functional Specification: SMTPC / DA" (modelled on).
"""

import os
import signal
import traceback

from meta1g import st
from meta1g.base import cli, paths, startup
from meta1g.base.clock import SystemClock
from meta1g.base.log import Log
from meta1g.conf.config import Config
from meta1g.conf.load import load_file
from meta1g.db.cdb import Cdb
from meta1g.rcb.schema import Message
from meta1g.rcb.smtpc_qmgr import PROTOCOL, SmtpcHello
from meta1g.smtpc.check import check
from meta1g.smtpc.client import Client
from meta1g.smtpc.limits import MICROSECONDS, STOP_GRACE_S
from meta1g.smtpc.settings import Settings
from meta1g.st.rcblink import RcbLink
from meta1g.st.signals import on_signal


class Smtpc:
    """The process: link to QMGR, sessions, stop.  Owner: the process."""

    def __init__(self, config: Config, index: int, log: Log) -> None:
        settings = Settings.from_config(config)
        queue = config.queue_directory
        self._log = log
        self._stopping = False
        self.client = Client(settings, Cdb(queue / paths.CDB_DIRECTORY), SystemClock(), log, self._post)
        self.link = RcbLink(
            queue / paths.QMGR_SMTPC_SOCKET,
            PROTOCOL,
            SmtpcHello(smtpc_id=index, pid=os.getpid(), max_threads=settings.max_threads),
            on_up=lambda reply: log.notice("smtpc.qmgr", "connected"),
            on_down=self.client.on_down,
            on_message=self.client.on_message,
            log=log,
        )

    def _post(self, msg: Message) -> None:
        if self.link.conn is not None:
            self.link.post(msg)

    def run(self) -> None:
        """Serves until it is told to stop.  Switches: yes."""
        on_signal(signal.SIGTERM, self.stop)
        on_signal(signal.SIGINT, self.stop)
        on_signal(signal.SIGUSR1, self._log.reopen)
        if startup.alive_fd() is not None:
            st.st_thread_create(self._watch_mcp, startup.alive_fd())
        self.link.start()
        startup.tell_ready()
        st.run_forever()

    def _watch_mcp(self, fd: int) -> None:
        """Stops when mcp is gone.  Switches: yes (poll)."""
        st.st_netfd_poll(st.st_netfd_open(fd), st.POLLIN, st.ST_UTIME_NO_TIMEOUT)
        self._log.notice("smtpc.mcp", "mcp is gone, stopping")
        self.stop()

    def stop(self) -> None:
        """Takes no more work, lets deliveries at hand finish for STOP_GRACE_S, ends.  Switches: yes (sleep)."""
        if self._stopping:
            return
        self._stopping = True
        self.client.stop()
        for _ in range(STOP_GRACE_S * 20):
            if not self.client.busy:
                break
            st.st_usleep(MICROSECONDS // 20)
        self._log.notice("smtpc.stop", "stopped", count=self.client.busy)
        st.stop()


def main(argv: list[str]) -> int:
    """Runs SMTPC and gives its exit code."""
    arguments = startup.component_arguments("smtpc", argv, "The SMTP and LMTP client of meta1g.")
    if arguments.check:
        return check(arguments)
    config = load_file(arguments.file, lenient=arguments.lenient, data=startup.configuration())
    log = startup.open_log("smtpc", config.glob, config.section("smtpc"), config.queue_directory)
    os.chdir(config.queue_directory)
    st.st_init()
    st.set_error_hook(lambda error: log.error("smtpc.thread", "".join(traceback.format_exception(error))))
    Smtpc(config, arguments.index, log).run()
    return 0


def run() -> None:
    """Runs the program (console script)."""
    raise SystemExit(cli.run_program("smtpc", main))


if __name__ == "__main__":
    run()
