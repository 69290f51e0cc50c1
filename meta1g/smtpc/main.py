"""SMTPC: the SMTP and LMTP client process.

It takes deliveries from QMGR, reads content from CDB, and reports what became of each.  It never writes to a queue.

Ref: MeTA1 design, "Functional Specification: SMTPC / DA" (modelled on).
"""

import os
import signal

from meta1g import st
from meta1g.base import cli, failure, paths, startup
from meta1g.base.accounts import account_of, user_entry
from meta1g.base.clock import SystemClock
from meta1g.base.log import Log
from meta1g.conf.config import Config
from meta1g.conf.load import load_file
from meta1g.db.cdb import Cdb
from meta1g.rcb.schema import Message
from meta1g.rcb.smtpc_qmgr import PROTOCOL, SmtpcContained, SmtpcHello
from meta1g.smtpc.client import Client
from meta1g.smtpc.limits import CONTAINED_TEXT_MAX_CHARS, MICROSECONDS, STOP_GRACE_S
from meta1g.smtpc.settings import ServerSettings
from meta1g.st.rcblink import RcbLink
from meta1g.st.signals import on_signal
from meta1g.st.turnlog import collect_lines


class Smtpc:
    """The process: link to QMGR, sessions, stop.  Owner: the process."""

    def __init__(self, config: Config, index: int, log: Log) -> None:
        settings = ServerSettings(config)
        queue = config.queue_directory
        self._log = log
        self._stopping = False
        self._wait_s = config.section("smtpc").get("wait_for_server")
        cdb = Cdb(queue / paths.CDB_DIRECTORY, owners=writers_of(config))
        self.client = Client(settings, cdb, SystemClock(), log, self._post)
        self.link = RcbLink(
            queue / paths.QMGR_SMTPC_SOCKET,
            PROTOCOL,
            SmtpcHello(smtpc_id=index, pid=os.getpid(), max_threads=settings.common.max_threads),
            on_up=self._on_up,
            on_down=self.client.on_down,
            on_message=self.client.on_message,
            log=log,
        )

    def _post(self, msg: Message) -> None:
        if self.link.conn is not None:
            self.link.now().post(msg)

    def _on_up(self, _reply: Message) -> None:
        """Tells a new QMGR what was contained before it came."""
        self._log.info("smtpc.qmgr", "connected")
        if failure.contained_count():
            self._tell_contained(failure.contained_count(), "before this connection")

    def _tell_contained(self, total: int, text: str) -> None:
        self._post(SmtpcContained(count=total, last=text[:CONTAINED_TEXT_MAX_CHARS]))

    def run(self) -> None:
        """Serves until it is told to stop.  Switches: yes."""
        on_signal(signal.SIGTERM, self.stop)
        on_signal(signal.SIGINT, self.stop)
        on_signal(signal.SIGUSR1, self._log.reopen)
        failure.on_contained(self._tell_contained)
        if startup.alive_fd() is not None:
            st.st_thread_create(self._watch_mcp, startup.alive_fd())
        self.link.start()
        st.st_thread_create(self._tell_ready)
        st.run_forever()

    def _tell_ready(self, _arg: object) -> None:
        """Reports readiness as soon as QMGR is there, or has been waited for.  Switches: yes (sleep)."""
        clock = SystemClock()
        end_s = clock.monotonic() + self._wait_s
        while self.link.conn is None and clock.monotonic() < end_s:
            st.st_usleep(MICROSECONDS // 50)
        startup.tell_ready()

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
        failure.steps(self._log, "smtpc.stop", self.client.stop, self._finish)
        st.stop()

    def _finish(self) -> None:
        for _ in range(STOP_GRACE_S * 20):
            if not self.client.busy:
                break
            st.st_usleep(MICROSECONDS // 20)
        self._log.notice("smtpc.stop", "stopped", count=self.client.busy)


def writers_of(config: Config) -> frozenset[int]:
    """Gives the accounts of SMTPS as the configuration names them, those that exist: their content files are read."""
    sections = config.sections("smtps") or (config.section("smtps"),)
    entries = (user_entry(account_of(section, "smtps")) for section in sections)
    return frozenset(entry.pw_uid for entry in entries if entry is not None)


def main(argv: list[str]) -> int:
    """Runs SMTPC and gives its exit code.  Switches: yes."""
    arguments = startup.component_arguments("smtpc", argv, "The SMTP and LMTP client of meta1g.")
    if arguments.check:
        from meta1g.smtpc.check import check

        return check(arguments)
    config = load_file(arguments.file, lenient=arguments.lenient, data=startup.configuration())
    log = startup.open_log("smtpc", config.glob, config.section("smtpc"), config.queue_directory)
    os.chdir(config.queue_directory)
    st.st_init()
    collect_lines(log)
    st.set_error_hook(lambda error: failure.end_process(log, "smtpc.thread", error))
    Smtpc(config, arguments.index, log).run()
    return 0


def run() -> None:
    """Runs the program (console script)."""
    cli.end_program("smtpc", main)


if __name__ == "__main__":
    run()
