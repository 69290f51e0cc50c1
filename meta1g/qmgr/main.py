"""QMGR: the queue manager process.

It alone owns the envelopes.  One QMGR at a time works on a queue directory: it holds a lock on it, and recovery runs
under that lock before the first connection.

Ref: MeTA1 design, "Functional Specification: QMGR" (modelled on).
"""

import fcntl
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, startup, sysexits
from meta1g.base.accounts import Access, access_for, account_of, user_entry
from meta1g.base.clock import SystemClock
from meta1g.base.errors import BugError, Meta1Error
from meta1g.base.log import Log
from meta1g.conf.load import Config, load_file
from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_salvage import open_or_salvage
from meta1g.db.lostfound import LostFound
from meta1g.db.recovery import recover
from meta1g.maps.watch import Loader
from meta1g.maps.wrong import WrongEntries
from meta1g.pt import alive
from meta1g.pt.evthr import Evthr
from meta1g.pt.signals import on_signal, signals_of
from meta1g.pt.task import Result, Task
from meta1g.pt.turnlog import collect_lines
from meta1g.pt.workers import Workers
from meta1g.qmgr.context import Context
from meta1g.qmgr.destinations import Destinations, configuration_map
from meta1g.qmgr.env import Env
from meta1g.qmgr.settings import Settings

#: A stop waits so long for results that are on their way, and for final dots that wait for their commit, as long as
#: somebody is connected; it looks that often.
STOP_GRACE_S: Final = 0.5
_STOP_LOOK_S: Final = 0.02
#: The component whose processes connect to each socket.
CONNECTING: Final = {paths.QMGR_SMTPS_SOCKET: "smtps", paths.QMGR_SMTPC_SOCKET: "smtpc"}


def check_directories(queue: Path) -> None:
    """Checks that the queue directory is complete.

    Raises:
        CliError: a directory is missing.
    """
    for row in paths.NEEDED_DIRECTORIES:
        directory = queue / row.name
        if not directory.is_dir():
            raise cli.CliError(f"{directory}: no such directory; run sm.setup")


def lock_queue(queue: Path) -> int:
    """Takes the lock of the queue directory; it is kept until the process ends.

    Returns:
        The descriptor of the lock file.

    Raises:
        CliError: another QMGR has it, or the file cannot be made.
    """
    path = queue / paths.QMGR_LOCK_FILE
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, paths.QUEUE_FILE_MODE)
    except OSError as error:
        raise cli.CliError(f"{path}: {error.strerror}; run sm.setup, or start as the account of qmgr") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        other = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        text = f"another qmgr (process {other}) works on {queue}; stop it first"
        raise cli.CliError(text, sysexits.EX_TEMPFAIL) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def socket_access(config: Config) -> dict[str, Access]:
    """Gives group and allowed accounts of the sockets, by path, when this process runs under the account of QMGR.

    The control socket is then for all that its permissions let in, and not in the result.  Otherwise all components run as
    the caller, and only the caller and root may connect.
    """
    own = user_entry(account_of(config.section("qmgr"), "qmgr"))
    if own is None or own.pw_uid != os.geteuid():
        return dict.fromkeys((*CONNECTING, paths.QMGR_CONTROL_SOCKET), access_for(()))
    accesses = {}
    for path, component in CONNECTING.items():
        sections = config.sections(component) or (config.section(component),)
        accesses[path] = access_for((account_of(one, component) for one in sections), own=False)
    return accesses


class Qmgr:
    """The process: stores, loop, stop.  Owner: the process."""

    def __init__(
        self, settings: Settings, queue: Path, access: Mapping[str, Access], log: Log, destinations: Destinations
    ) -> None:
        self._access = access
        self._log = log
        self._stopping = False
        self._clock = clock = SystemClock()
        cdb = Cdb(queue / paths.CDB_DIRECTORY)
        log_directory = queue / settings.defedb_log_directory if settings.defedb_log_directory else None
        lost = LostFound(queue / paths.LOST_FOUND_DIRECTORY, log)
        defedb = DefeDb(queue / paths.DEFEDB_DIRECTORY, settings.defedb_cache_size, log_directory, lost.keep_record)
        self._recover(queue, defedb, cdb, lost, clock.now())
        self._evthr = Evthr(clock=clock, log=log)
        self.context = Context(Env(settings, self._evthr, clock, log, destinations), queue, defedb, cdb, lost)

    def _recover(self, queue: Path, defedb: DefeDb, cdb: Cdb, lost: LostFound, now: float) -> None:
        """Opens DEFEDB and moves there what is in IBDB; if DEFEDB turns out to be damaged then, it is repaired once."""
        ibdb = queue / paths.IBDB_DIRECTORY
        damaged = open_or_salvage(defedb, lost.directory, self._log, cdb.exists)
        try:
            report = recover(ibdb, defedb, cdb, lost.directory, now, self._log)
        except BugError as error:
            self._log.fatal("qmgr.recover", error.cause)
            defedb.close()
            open_or_salvage(defedb, lost.directory, self._log, cdb.exists)
            damaged = True
            report = recover(ibdb, defedb, cdb, lost.directory, now, self._log)
        if damaged or report.damage:
            homeless = (cdb_id for cdb_id, _ in cdb.ids() if not defedb.has_ta(cdb_id))
            lost.keep_content(homeless, "the stores were damaged")

    def run(self) -> None:
        """Serves until it is told to stop.  Blocks: yes."""
        collect_lines(self._log)
        for signum in (signal.SIGTERM, signal.SIGINT):
            on_signal(self._evthr, signum, self.stop)
        on_signal(self._evthr, signal.SIGUSR1, self._log.reopen)
        alive.watch_alive(self._evthr, self._mcp_gone)
        self.context.listen(self._access)
        self.context.begin()
        alive.tell_ready()
        self._log.info("qmgr.start", "ready", pid=os.getpid(), count=self.context.defer.count)
        try:
            self._evthr.loop()
        finally:
            signals_of(self._evthr).close()
            self.context.close()
            self._log.notice("qmgr.stop", "stopped")

    def _mcp_gone(self) -> None:
        self._log.notice("qmgr.mcp", "mcp is gone, stopping")
        self.stop()

    def stop(self) -> None:
        """Takes no new mail, finishes what waits for a commit, ends the loop; at once if nobody is connected."""
        if self._stopping:
            return
        self._stopping = True
        self._log.notice("qmgr.stop", "stopping")
        self.context.stop_intake()
        end_s = self._clock.monotonic() + STOP_GRACE_S
        self._evthr.timer(0.0, lambda task: self._look_for_end(task, end_s), name="stop")

    def _look_for_end(self, task: Task, end_s: float) -> Result:
        if not self.context.peers or self._clock.monotonic() >= end_s:
            return Result.DEL | Result.TERM
        task.sleep_for(_STOP_LOOK_S)
        return Result.SLPQ


def main(argv: list[str]) -> int:
    """Runs QMGR and gives its exit code."""
    arguments = startup.component_arguments("qmgr", argv, "The queue manager of meta1g.")
    if arguments.check:
        from meta1g.qmgr.check import check

        return check(arguments)
    config = load_file(arguments.file, lenient=arguments.lenient, data=startup.configuration())
    queue = config.queue_directory
    check_directories(queue)
    log = startup.open_log("qmgr", config.glob, config.section("qmgr"), queue)
    lock_fd = lock_queue(queue)
    try:
        loader = Workers(1, name="map loader", log=log)
        table = configuration_map(config, config.section("qmgr"), Loader(loader.submit, log))
        destinations = Destinations(table, WrongEntries(log))
        try:
            Qmgr(Settings.from_config(config), queue, socket_access(config), log, destinations).run()
        finally:
            loader.close(timeout_s=0.0)
    except Meta1Error as error:
        log.fatal("qmgr.main", error.cause)
        raise
    finally:
        os.close(lock_fd)
    return sysexits.EX_OK


def run() -> None:
    """Runs the program (console script)."""
    cli.end_program("qmgr", main)


if __name__ == "__main__":
    run()
