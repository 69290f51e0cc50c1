"""A whole queue manager in the test process: real stores, sockets and threads; only the clock can be turned."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from meta1g.base import failure, paths
from meta1g.base.log import Log
from meta1g.base.logkeys import Sev
from meta1g.db.cdb import Cdb
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_base import Keeper
from meta1g.db.files import Files, Name
from meta1g.db.lostfound import LostFound
from meta1g.db.recovery import recover
from meta1g.maps.static import StaticMap
from meta1g.pt import lock
from meta1g.pt.evthr import Evthr
from meta1g.qmgr.context import Context
from meta1g.qmgr.destinations import Destinations
from meta1g.qmgr.env import Env
from meta1g.qmgr.settings import Settings
from meta1g.qmgr.verified import VerifySettings
from tests.fakes.qmgr_peers import WAIT_S, Agent, Smar, Smtps

BASE = {
    "hostname": "mx.example", "aq_max_entries": 100, "iqdb_max_entries": 1000, "smtps_max_connections": 100,
    "smtps_max_rate": 0, "smtpc_initial_connections": 2, "smtpc_max_connections": 4, "min_retry_delay_s": 300,
    "max_retry_delay_s": 3600, "delay_dsn_timeout_s": 4 * 3600, "return_timeout_s": 5 * 86400,
    "double_bounce_address": "postmaster", "max_rcpts_per_transaction": 10, "min_free_disk": 0, "ok_free_disk": 0,
    "ibdb_max_size": 1 << 20, "defedb_cache_size": 1 << 20, "defedb_log_directory": "", "checkpoint_interval_s": 60,
    "ibdb_max_open": 100, "dsn_delay": True, "dsn_headers_only": False, "dsn_double_bounce": True,
    "verify": VerifySettings(31 * 86400, 7 * 86400, 3 * 86400, 3 * 3600),
}  # fmt: skip
#: Lines that only a bug writes.
BUGS = re.compile(
    r"func=(evthr\.(task|frame|call|signal|thread)|workers\.\w+|rcb\.(end|message|reply|read|send)|qmgr\.bug)\b"
    r"|the process ends: "
)


def settings(**changes) -> Settings:
    return Settings(**{**BASE, **changes})


def wait_until(condition: Callable[[], object], what: str | Callable[[], object], limit_s: float = WAIT_S) -> None:
    """Asks again and again until condition() is true; fails after limit_s seconds."""
    end, pause = time.monotonic() + limit_s, threading.Event()
    while not condition():
        assert time.monotonic() < end, f"never: {what if isinstance(what, str) else what()}"
        pause.wait(0.01)


class TurnedClock:
    """The clock of the machine, turned forward by the test."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def now(self) -> float:
        return time.time() + self.offset_s

    def monotonic(self) -> float:
        return time.monotonic() + self.offset_s


class Sink:
    """Log lines that can be waited for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.changed = threading.Condition()

    def write(self, sevr: Sev, stamp: str, head: str, text: str) -> None:
        with self.changed:
            self.lines.append(text)
            self.changed.notify_all()

    def reopen(self) -> None:
        """Has nothing to open."""

    def find(self, pattern: str) -> list[str]:
        with self.changed:
            return [line for line in self.lines if re.search(pattern, line)]

    def wait(self, pattern: str, count: int = 1) -> list[str]:
        """Waits until count lines match; fails after WAIT_S."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.find(pattern)) >= count, WAIT_S)
            found = self.find(pattern)
        assert len(found) >= count, f"{len(found)} of {count} lines with {pattern!r} in\n" + "\n".join(self.lines)
        return found


class Journal(list):
    """What became durable, in its order: (store, what, index or id).  An entry follows what it tells of."""

    def wait(self, entry: tuple) -> int:
        """Waits for an entry and gives its place."""
        wait_until(lambda: entry in self, f"{entry} in {self}")
        return super().index(entry)

    def index(self, entry: tuple) -> int:
        """The same: an effect may be seen before its entry is."""
        return self.wait(entry)


class JournalFiles(Files):
    """Files that note flushes and removals, and fail on demand."""

    __slots__ = ("error", "gate", "journal")

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.error: OSError | None = None
        self.gate = threading.Event()  # flushes wait while it is clear
        self.gate.set()

    def write_at(self, fd: int, data: bytes, offset: int) -> None:
        if self.error is not None:
            raise self.error
        super().write_at(fd, data, offset)

    def datasync(self, fd: int) -> None:
        assert self.gate.wait(WAIT_S)
        super().datasync(fd)
        self.journal.append(("ibdb", "flush", 0))

    def unlink(self, path: Name) -> None:
        super().unlink(path)
        self.journal.append(("cdb" if "/cdb/" in str(path) else "file", "unlink", Path(path).name))


class JournalDefeDb(DefeDb):
    """DEFEDB that notes what it stored, and fails on demand."""

    def __init__(self, directory: Path, journal: Journal, keeper: Keeper) -> None:
        super().__init__(directory, 1 << 20, keeper=keeper)
        self.journal = journal
        self.error: Exception | None = None

    def store(self, tas, put, removed=()):
        tas, put, removed = list(tas), list(put), list(removed)
        if self.error is not None:
            raise self.error
        gone = super().store(tas, put, removed)
        self.journal += [("defedb", "put", rcpt.rcpt_idx) for rcpt in put]
        self.journal += [("defedb", "removed", rcpt_idx) for _, rcpt_idx in removed]
        return gone


class QmgrSystem:
    """Starts in start(), ends in stop(); peers are made by smar(), agent() and smtps()."""

    def __init__(self, queue: Path, destinations: dict[str, str] | None = None, **changes) -> None:
        self.queue = queue
        self.destinations = Destinations(None if destinations is None else StaticMap("destinations", destinations))
        self.settings = settings(**changes)
        self.clock = TurnedClock()
        self.sink = Sink()
        self.log = Log("qmgr", level=20, sink=self.sink)
        self.journal = Journal()
        self.files = JournalFiles(self.journal)
        self.peers: list[Smar | Agent | Smtps] = []
        self.thread: threading.Thread | None = None
        self.exits: list[int] = []  # how often the process would have ended by itself
        for directory in paths.QUEUE_DIRECTORIES:
            (queue / directory.name).mkdir(parents=True, exist_ok=True)
        self.cdb = Cdb(queue / "cdb", self.files)

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> "QmgrSystem":
        lock.set_checking(True)
        failure.set_exit(self.exits.append)
        lost = LostFound(self.queue / "lost+found", self.log)
        self.defedb = JournalDefeDb(self.queue / "defedb", self.journal, lost.keep_record)
        self.defedb.open()
        recover(self.queue / "ibdb", self.defedb, self.cdb, self.queue / "lost+found", self.clock.now(), self.log)
        self.evthr = Evthr(clock=self.clock, log=self.log)
        env = Env(self.settings, self.evthr, self.clock, self.log, self.destinations)
        self.context = Context(env, self.queue, self.defedb, self.cdb, lost)
        self._watch_ibdb()
        self.context.listen({})
        self.context.begin()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._loop)
        self.thread.start()
        return self

    def _loop(self) -> None:
        try:
            self.evthr.loop()
        except Exception as error:  # noqa: BLE001  stop() looks at it
            self.error = error

    def _watch_ibdb(self) -> None:
        ibdb = self.context.commit._ibdb
        ibdb._files = self.files
        for name in ("rcpt_new", "rcpt_done", "ta_done"):
            self._watch(ibdb, name)

    def _watch(self, ibdb, name: str) -> None:
        real = getattr(ibdb, name)

        def noted(*args):
            real(*args)
            self.journal.append(("ibdb", name, args[-1] if name != "rcpt_new" else args[0].rcpt_idx))

        setattr(ibdb, name, noted)

    def stop(self, *, clean: bool = True) -> None:
        """Ends as the process does after SIGTERM; checks that nothing went wrong, if it should be clean."""
        if self.thread is None:
            return
        self.context.stop_intake()
        self.evthr.stop()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()
        self.thread = None
        self.context.active.aq.check()
        self.context.close()
        for peer in self.peers:
            peer.stop()
        self.peers.clear()
        assert self.error is None
        assert self.exits == []
        assert not clean or not self.sink.find(BUGS.pattern), self.sink.find(BUGS.pattern)

    def restart(self) -> None:
        self.stop()
        self.start()

    def advance(self, seconds: float) -> None:
        """Turns the clock forward and lets the timers see it."""
        self.clock.offset_s += seconds
        self.evthr.call_soon(lambda: None)

    # -- peers ---------------------------------------------------------------------------------------------------------

    def smar(self, **routes) -> Smar:
        return self._peer(Smar(self.queue / paths.SMAR_QMGR_SOCKET))

    def agent(self, **facts) -> Agent:
        return self._peer(Agent(self.queue / paths.QMGR_SMTPC_SOCKET, **facts))

    def smtps(self, **facts) -> Smtps:
        return self._peer(Smtps(self.queue / paths.QMGR_SMTPS_SOCKET, self.cdb, **facts))

    def _peer(self, peer):
        self.peers.append(peer)
        peer.start()
        return peer

    # -- looking -------------------------------------------------------------------------------------------------------

    @property
    def aq(self):
        return self.context.active.aq

    def states(self) -> dict[tuple[str, int], str]:
        """Gives the state of each recipient in AQ."""
        with self.context.active.lock:
            return {(ta.ta_id, idx): rcpt.state.name for ta in self.aq.tas() for idx, rcpt in ta.rcpts.items()}

    def content(self) -> list[str]:
        return sorted(cdb_id for cdb_id, _ in self.cdb.ids())

    def wait_empty(self, limit_s: float = WAIT_S) -> None:
        """Waits until no store has anything."""
        wait_until(lambda: not any(self.left()), self.left, limit_s)

    def left(self) -> tuple[dict, int, int, list[str]]:
        """Gives what stands in AQ, DEFEDB, IBDB and CDB."""
        return self.states(), self.context.defer.count, self.context.commit.open_count, self.content()

    def wait_deferred(self, count: int) -> None:
        """Waits until so many recipients are in DEFEDB, and only there."""
        wait_until(
            lambda: self.context.defer.count == count and not self.states() and not self.context.defer.pending,
            f"{count} deferred",
        )
