"""The queue manager without threads and disks: the real active queue, scheduler and feeder between stores that are models.

Every step of a run is made by the test, so that a random order of events can be repeated and made smaller.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from meta1g.base.errors import FullError
from meta1g.base.ids import IdGenerator, rcpt_id
from meta1g.base.log import Log
from meta1g.db.aq import Aq
from meta1g.db.aq_types import AqRcpt, Home, RcptState
from meta1g.db.dadb import Agent, Dadb
from meta1g.db.edbc import Edbc
from meta1g.db.occ import Occ
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Result as TaskResult
from meta1g.qmgr.active import Active
from meta1g.qmgr.bounces import Bounces
from meta1g.qmgr.defer import Change
from meta1g.qmgr.deliver import Builder
from meta1g.qmgr.env import Env
from meta1g.qmgr.expanding import Expanding
from meta1g.qmgr.feeder import Feeder
from meta1g.qmgr.gather import Gather
from meta1g.qmgr.limits import GATHER_S
from meta1g.qmgr.orders import Orders, released
from meta1g.qmgr.questions import Unasked
from meta1g.qmgr.rcpt_fsm import Event, step
from meta1g.qmgr.sched import Scheduler
from meta1g.qmgr.storing import Storing
from meta1g.qmgr.update import Update
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.envelope import RcptFlags, RcptRecord, TaRecord
from meta1g.rcb.schema import Message
from meta1g.rcb.smtpc_qmgr import CloseDelivery, Deliver
from tests.fakes.envelopes import ta_id
from tests.fakes.qmgr_system import settings

DOMAINS = ("x.example", "x.example", "y.example", "z.example")
AQ_MAX, INITIAL, MAXIMUM, AGENT_SESSIONS = 12, 2, 3, 3
SETTINGS = settings(
    aq_max_entries=AQ_MAX, smtpc_initial_connections=INITIAL, smtpc_max_connections=MAXIMUM, max_rcpts_per_transaction=2,
    return_timeout_s=100 * 365 * 86400,
)  # fmt: skip


class Silent:
    """A sink that keeps nothing."""

    def write(self, *args: object) -> None:
        """Drops the line."""

    def reopen(self) -> None:
        """Has nothing to open."""


class HandClock:
    def __init__(self) -> None:
        self.time_s = 1_700_000_000.0

    def now(self) -> float:
        return self.time_s

    def monotonic(self) -> float:
        return self.time_s


@dataclass
class HandTask:
    function: Callable
    woken: bool = False

    def wakeup(self) -> None:
        self.woken = True

    def sleep_for(self, delay_s: float) -> None:
        """Time passes only when the test wants it."""


class HandEvthr:
    """Makes tasks; run() runs those that were woken, until none is."""

    def __init__(self) -> None:
        self.tasks: list[HandTask] = []

    def task_new(self, function: Callable, **facts: object) -> HandTask:
        self.tasks.append(HandTask(function))
        return self.tasks[-1]

    def run(self) -> None:
        while woken := [task for task in self.tasks if task.woken]:
            for task in woken:
                task.woken = False
                assert task.function(task) is TaskResult.SLPQ


@dataclass
class LogState:
    """IBDB: transactions that are open, with their open recipients."""

    open: dict[str, tuple[TaRecord, dict[int, RcptRecord]]] = field(default_factory=dict)

    def copy(self) -> "LogState":
        return LogState({key: (ta, dict(rcpts)) for key, (ta, rcpts) in self.open.items()})


class ModelCommit:
    """IBDB and CDB.  What was not flushed is lost in a crash; content goes after the flush."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.lock = Lock(LockRank.IBDB)
        self.state = LogState()
        self.durable = LogState()
        self.unlinks: list[str] = []
        self.content: set[str] = set()

    def accept(self, ta: TaRecord, rcpts: Sequence[RcptRecord]) -> None:
        self.content.add(ta.cdb_id)
        self.state.open[ta.ta_id] = (ta, {one.rcpt_idx: one for one in rcpts})
        self.flush()

    def rcpts_replaced(self, new: Sequence[RcptRecord], ta_id: str, done: Sequence[int]) -> None:
        with self.lock:
            assert not new or ta_id in self.state.open, "a recipient of a transaction that is not open"
            if ta_id in self.state.open:
                rcpts = self.state.open[ta_id][1]
                assert not rcpts.keys() & {one.rcpt_idx for one in new}, "an index is used twice"
                rcpts.update({one.rcpt_idx: one for one in new})
                for rcpt_idx in done:
                    rcpts.pop(rcpt_idx, None)

    def ta_done(self, ta_id: str, unlink: str | None) -> None:
        with self.lock:
            self.state.open.pop(ta_id, None)
            self._unlink(unlink)

    def unlink(self, cdb_id: str) -> None:
        with self.lock:
            self._unlink(cdb_id)

    def _unlink(self, cdb_id: str | None) -> None:
        if cdb_id is not None:
            assert cdb_id not in self.unlinks, "removed twice"
            assert cdb_id not in self.world.defer.tas, "DEFEDB still has the transaction"
            self.unlinks.append(cdb_id)

    def flush(self) -> None:
        self.durable = self.state.copy()
        self.content.difference_update(self.unlinks)
        self.unlinks = []


class ModelDefer:
    """DEFEDB and its thread: jobs wait until the test lets one run."""

    def __init__(self) -> None:
        self.lock = Lock(LockRank.DEFEDB)
        self.tas: dict[str, TaRecord] = {}
        self.rcpts: dict[tuple[str, int], RcptRecord] = {}
        self.jobs: deque[Callable[[], None]] = deque()
        self.changes: list[Change] = []
        self.scheduled = False

    def add(self, change: Change) -> None:
        with self.lock:
            self.changes.append(change)
            if not self.scheduled:
                self.scheduled = True
                self.jobs.append(self._store)

    def ask(self, function: Callable, on_done: Callable, on_error: object = None) -> None:
        self.jobs.append(lambda: on_done(function(self)))

    def _store(self) -> None:
        with self.lock:
            changes, self.changes, self.scheduled = self.changes, [], False
        gone = self.store(
            {one.ta.ta_id: one.ta for one in changes if one.put}.values(),
            [rcpt for one in changes for rcpt in one.put],
            [(one.ta.ta_id, rcpt_idx) for one in changes for rcpt_idx in one.removed],
        )
        for one in changes:
            one.stored(one.ta.ta_id in gone)

    def store(self, tas: Iterable[TaRecord], put: Iterable[RcptRecord], removed: Iterable[tuple[str, int]] = ()) -> set[str]:
        self.tas.update({one.ta_id: one for one in tas})
        for rcpt in put:
            assert rcpt.ta_id in self.tas
            self.rcpts[rcpt.ta_id, rcpt.rcpt_idx] = rcpt
        removed = list(removed)
        for key in removed:
            self.rcpts.pop(key, None)
        left = {key for key, _ in self.rcpts}
        gone = {key for key, _ in removed if key in self.tas and key not in left}
        for key in gone:
            del self.tas[key]
        return gone

    # what the feeder and the control socket read
    def due(self, until_s: float, limit: int, after: object) -> list[tuple[float, str, int]]:
        entries = sorted((one.next_try, *key) for key, one in self.rcpts.items())
        return [one for one in entries if after is None or one > after][:limit]

    def get_rcpt(self, key: str, rcpt_idx: int) -> RcptRecord | None:
        return self.rcpts.get((key, rcpt_idx))

    def read_due(self, due: Iterable[tuple[float, str, int]]) -> list[tuple[TaRecord, RcptRecord]]:
        found = [(self.tas.get(key), self.rcpts.get((key, rcpt_idx))) for _, key, rcpt_idx in due]
        return [(ta, rcpt) for ta, rcpt in found if ta is not None and rcpt is not None]

    def get_ta(self, key: str) -> TaRecord | None:
        return self.tas.get(key)

    def scan(self, after: str | None, limit: int) -> list[RcptRecord]:
        ids = sorted((rcpt_id(key, rcpt_idx), one) for (key, rcpt_idx), one in self.rcpts.items())
        return [one for name, one in ids if after is None or name > after][:limit]


def _drained(unasked: Unasked) -> list[AqRcpt]:
    return [unasked.take() for _ in range(len(unasked))]


@dataclass
class Work:
    """A delivery that an agent has."""

    agent: Agent
    msg: Deliver
    on_reply: Callable[[Message | None], None]


class HandConn:
    """The connection of an agent: counts its sessions as the agent does."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.agent: Agent | None = None
        self.open: set[str] = set()
        self.closed = False

    def request(self, msg: Deliver, on_reply: Callable, timeout_s: float) -> None:
        assert self.agent is not None
        assert msg.new_session == (msg.session_id not in self.open)
        assert msg.session_id not in [work.msg.session_id for work in self.world.works], "two deliveries in a session"
        self.open.add(msg.session_id)
        assert len(self.open) <= AGENT_SESSIONS, "more sessions than the agent can serve"
        assert len(msg.rcpts) <= SETTINGS.max_rcpts_per_transaction
        assert msg.cdb_id in self.world.commit.content, "its content is gone"
        self.world.works.append(Work(self.agent, msg, on_reply))

    def post(self, msg: Message) -> None:
        assert isinstance(msg, CloseDelivery)
        assert msg.session_id not in [work.msg.session_id for work in self.world.works], "closed while it delivers"
        self.open.remove(msg.session_id)


class World:
    """Everything, and the steps that can be taken.

    Attributes:
        works: deliveries that agents have.
        waiting: addresses that were accepted and of which nobody has heard yet.
        parents: members of aliases, with the alias.
    """

    def __init__(self, seed: int = 0) -> None:
        self.clock = HandClock()
        self.rng = random.Random(seed)
        self.log = Log("model", level=0, sink=Silent())
        self.commit = ModelCommit(self)
        self.defer = ModelDefer()
        self.waiting: set[str] = set()
        self.parents: dict[str, str] = {}
        self.number = 0
        self._boot()

    def _boot(self) -> None:
        self.evthr = HandEvthr()
        self.works: list[Work] = []
        env = Env(SETTINGS, self.evthr, self.clock, self.log)  # type: ignore[arg-type]
        self.active = Active(env, Aq(AQ_MAX), Edbc(4), self.commit, self.defer)  # type: ignore[arg-type]
        self.storing = Storing(env, self.active)
        self.storing._rng = random.Random(self.number)  # the same events give the same state
        self.gather = Gather(env, self.active)
        bounces = Bounces(env, self.active, self.storing, self.gather)
        self.orders = Orders(env, self.active, self.storing, bounces, self.gather)
        self.update = Update(env, self.active, self.storing, bounces, self.gather, self.orders)
        self.expanding = Expanding(env, self.active.copies, self.storing, bounces)
        self.occ, self.dadb = Occ(INITIAL, MAXIMUM, 60.0, 2), Dadb()
        builder = Builder(SETTINGS, IdGenerator("C", 0, self.clock), self.clock)
        self.scheduler = Scheduler(env, self.active, self.update, self.occ, self.dadb, builder)
        self.feeder = Feeder(replace(env, evthr=HandEvthr()), self.active, self.orders)  # type: ignore[arg-type]

    # -- steps ---------------------------------------------------------------------------------------------------------

    def address(self) -> str:
        self.number += 1
        return f"r{self.number}@{self.rng.choice(DOMAINS)}"

    def accept(self, rcpts: int, *, empty_sender: bool) -> None:
        """A message was accepted."""
        self.number += 1
        key, now = ta_id(self.number), self.clock.now()
        ta = TaRecord(
            ta_id=key, cdb_id=key, mail="" if empty_sender else "sender@x.example", size_bytes=1, entered=now, rcpts=rcpts
        )
        records = [RcptRecord(ta_id=key, rcpt_idx=idx, rcpt=self.address(), entered=now) for idx in range(rcpts)]
        self.waiting.update(one.rcpt for one in records)
        self.commit.accept(ta, records)
        with self.active.lock:
            try:
                self.active.enter(ta, records, Home.IBDB)
            except FullError:
                self.active.overflow(ta, records)

    def unresolved(self) -> list[AqRcpt]:
        found, self.active.unresolved = _drained(self.active.unresolved), Unasked()
        return [one for one in found if one.state is RcptState.NEW]

    def resolve(self, answer: Callable[[AqRcpt], None]) -> None:
        """The resolver answers for all it was asked for."""
        for rcpt in self.unresolved():
            with self.active.lock:
                step(rcpt, Event.ASK_AR)
                answer(rcpt)

    def resolve_some(self, number: int, answer: Callable[[AqRcpt], None]) -> None:
        """The resolver answers for so many; the others wait for it."""
        asked = self.unresolved()
        self.active.unresolved.extend(asked[number:])
        for rcpt in asked[:number]:
            with self.active.lock:
                step(rcpt, Event.ASK_AR)
                answer(rcpt)

    def late(self) -> None:
        """Nobody waits any longer for companions that are still asked for."""
        self.clock.time_s += math.ceil(GATHER_S)  # whole seconds: a store rounds times
        self.gather._task.wakeup()

    def route(self, *addrs: str) -> Callable[[AqRcpt], None]:
        servers = tuple(ServerAddr(addr=addr, port=25) for addr in addrs)
        return lambda rcpt: self.update.resolved(rcpt, 0, servers)

    def expand(self, rcpt: AqRcpt, members: int, parts: int = 1) -> None:
        """The recipient was an alias; its members come in parts."""
        addresses = [self.address() for _ in range(members)]
        self.parents.update(dict.fromkeys(addresses, rcpt.record.rcpt))
        if rcpt.record.rcpt in self.waiting:
            self.waiting.remove(rcpt.record.rcpt)
            self.waiting.update(addresses)
        rcpt.expanding = True
        size = -(-members // parts)
        slices = deque(addresses[first : first + size] for first in range(0, members, size))

        def next_part() -> None:
            if slices:
                part = slices.popleft()
                self.expanding.expanded(rcpt, part, None, more=bool(slices), then=next_part)

        next_part()

    def agent_up(self) -> None:
        conn = HandConn(self)
        conn.agent = Agent(conn, len(self.dadb), 1, AGENT_SESSIONS)
        self.scheduler.agent_up(conn.agent)

    def agent_down(self, agent: Agent) -> None:
        agent.conn.closed = True
        lost, self.works = [w for w in self.works if w.agent is agent], [w for w in self.works if w.agent is not agent]
        for work in lost:
            work.on_reply(None)
        self.scheduler.agent_down(agent)

    def crash(self) -> None:
        """The process is killed and recovers; what recover() does is checked elsewhere, here it is what it should do."""
        self.defer.jobs.clear()
        self.defer.changes, self.defer.scheduled = [], False
        self.commit.unlinks = []
        for key, (ta, rcpts) in self.commit.durable.open.items():
            new = [one for one in rcpts.values() if (key, one.rcpt_idx) not in self.defer.rcpts]
            known = self.defer.tas.get(key, ta)
            count = max([ta.rcpts, known.rcpts, *(one.rcpt_idx + 1 for one in new)])
            if new:
                now = self.clock.now()
                self.defer.store([replace(known, rcpts=count)], [replace(one, next_try=now) for one in new])
        self.commit.state, self.commit.durable = LogState(), LogState()
        self.commit.content &= self.defer.tas.keys()  # orphans go
        known = self.known()
        self.waiting = {self.found(address, known) or address for address in self.waiting}
        self._boot()

    def known(self) -> set[str]:
        """Gives the addresses that stand in a store that survives, by themselves or in a bounce."""
        records = [one for _, rcpts in self.commit.durable.open.values() for one in rcpts.values()]
        records += self.defer.rcpts.values()
        told = {one.rcpt for record in records if not record.flags & RcptFlags.IS_DLY for one in record.failed}
        return told | {record.rcpt for record in records}

    def found(self, address: str | None, known: set[str]) -> str | None:
        """Gives what stands for an address: itself, or the alias whose expansion is not durable yet."""
        while address is not None and address not in known:
            address = self.parents.get(address)
        return address

    def retry_all(self) -> None:
        """The operator wants everything to be tried now."""
        now = self.clock.now()
        self.scheduler.retry_dests()

        def reset(done: object) -> None:
            with self.active.lock:
                self.active.edbc.reset()

        def advance(db: ModelDefer) -> None:
            late = [one for one in db.rcpts.values() if one.next_try > now and not one.flags & RcptFlags.HOLD]
            db.store((), [replace(one, next_try=now) for one in late])

        self.defer.ask(advance, reset)

    def release_all(self) -> None:
        """The operator lets everything be tried that is held."""

        def reset(done: object) -> None:
            with self.active.lock:
                self.active.edbc.reset()

        def release(db: ModelDefer) -> None:
            held = [one for one in db.rcpts.values() if one.flags & RcptFlags.HOLD]
            db.store((), [released(one, self.clock.now()) for one in held])

        self.defer.ask(release, reset)

    def settle(self) -> None:
        """Runs what was woken."""
        self.evthr.run()
