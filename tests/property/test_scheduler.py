"""Random events against the active queue, the scheduler and the feeder: nobody is lost, no limit is passed, nobody starves."""

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meta1g.base.reply import Reply
from meta1g.db.aq_types import Order, RcptState
from meta1g.pt import lock
from meta1g.qmgr import da_fsm
from meta1g.qmgr.orders import Fate
from meta1g.qmgr.outcome import Outcome
from meta1g.qmgr.rcpt_fsm import SETTLED, UNRESOLVED
from meta1g.rcb.envelope import RcptFlags
from meta1g.rcb.smtpc_qmgr import DeliveryResult, RcptResult
from tests.fakes.qmgr_model import AGENT_SESSIONS, AQ_MAX, MAXIMUM, World

SERVERS = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
CODES = st.sampled_from([250, 250, 450, 550])
WARNING = int(RcptFlags.IS_DLY)


class Machine(RuleBasedStateMachine):
    @initialize()
    def start(self):
        lock.set_checking(True)
        self.world = World()

    def teardown(self):
        try:
            self.drain()
        finally:
            lock.set_checking(False)

    # -- events

    @rule(rcpts=st.integers(1, 5), empty_sender=st.booleans())
    def accept(self, rcpts, empty_sender):
        self.world.accept(rcpts, empty_sender=empty_sender)
        self.world.settle()

    @rule(servers=st.lists(st.sampled_from(SERVERS), min_size=1, max_size=2, unique=True))
    def resolve(self, servers):
        self.world.resolve(self.world.route(*servers))
        self.world.settle()

    @rule(number=st.integers(1, 3), servers=st.lists(st.sampled_from(SERVERS), min_size=1, max_size=2, unique=True))
    def resolve_some(self, number, servers):
        self.world.resolve_some(number, self.world.route(*servers))
        self.world.settle()

    @rule()
    def companions_are_late(self):
        self.world.late()
        self.world.settle()

    @rule(members=st.integers(1, 9), parts=st.integers(1, 3), servers=st.sampled_from(SERVERS))
    def expand(self, members, parts, servers):
        def answer(rcpt):
            if rcpt.record.flags:
                self.world.route(servers)(rcpt)
            else:
                self.world.expand(rcpt, members, parts)

        self.world.resolve(answer)
        self.world.settle()

    @rule(code=CODES.filter(lambda code: code != 250))
    def unresolved(self, code):
        def answer(rcpt):
            self.decided(rcpt.record, code)
            self.world.update.finish(rcpt, Outcome(Reply(code, f"{code // 100}.4.4", "no way")))

        self.world.resolve(answer)
        self.world.settle()

    @precondition(lambda self: len(self.world.dadb) < 2)
    @rule()
    def agent_up(self):
        self.world.agent_up()
        self.world.settle()

    @precondition(lambda self: len(self.world.dadb) > 0)
    @rule()
    def agent_down(self):
        self.world.agent_down(self.world.dadb.agents[0])
        self.world.settle()

    def take(self, number):
        return self.world.works.pop(number % len(self.world.works))

    def reply(self, work, **facts):
        facts = {"session_open": False, **facts}
        if not facts["session_open"]:
            work.agent.conn.open.discard(work.msg.session_id)
        work.on_reply(DeliveryResult(session_id=work.msg.session_id, ta_id=work.msg.da_ta_id, **facts))
        self.world.settle()

    def records(self, work):
        ta = self.world.active.aq.get(work.msg.ta_id)
        return [ta.rcpts[one.rcpt_idx].record for one in work.msg.rcpts]

    @precondition(lambda self: self.world.works)
    @rule(number=st.integers(0, 20), code=CODES, own=st.none() | CODES, keep=st.booleans())
    def delivered(self, number, code, own, keep):
        """The transaction has an outcome, and its first recipient perhaps one of its own."""
        work = self.take(number)
        records = self.records(work)
        rcpts = () if own is None else (RcptResult(rcpt_idx=records[0].rcpt_idx, reply=Reply(own)),)
        codes = [code if own is None else own, *[code] * (len(records) - 1)]
        for record, one in zip(records, codes, strict=True):
            self.decided(record, one)
        self.reply(work, transaction=Reply(code), rcpts=rcpts, session_open=keep and work.msg.keep_open)

    @precondition(lambda self: self.world.works)
    @rule(number=st.integers(0, 20), code=st.sampled_from([421, 554]), own=st.none() | CODES)
    def session_failed(self, number, code, own):
        """The session breaks; of its first recipient perhaps something has been said before."""
        work = self.take(number)
        records = self.records(work)
        rcpts = self.world.active.aq.get(work.msg.ta_id).rcpts
        said = () if own is None else (RcptResult(rcpt_idx=records[0].rcpt_idx, reply=Reply(own)),)
        if own is not None:
            self.decided(records.pop(0), own)
        for record in records:
            rcpt = rcpts[record.rcpt_idx]
            if rcpt.server_idx + 1 >= len(rcpt.servers):
                self.decided(record, code)
        self.reply(work, session=Reply(code, "", "no"), rcpts=said)

    @precondition(lambda self: self.world.works)
    @rule(number=st.integers(0, 20), what=st.sampled_from(["late", "wrong session", "wrong transaction", "strange codes"]))
    def agent_is_confused(self, number, what):
        """The result does not come in time, is that of another delivery, or says nothing that makes sense."""
        work = self.take(number)
        msg = work.msg
        if what == "strange codes":
            work.agent.conn.open.discard(msg.session_id)
        ok = Reply(250)
        answer = {
            "late": None,
            "wrong session": DeliveryResult(session_id="C" + "0" * 18, ta_id=msg.da_ta_id, transaction=ok, session_open=True),
            "wrong transaction": DeliveryResult(
                session_id=msg.session_id, ta_id="S" + "0" * 18, transaction=ok, session_open=True,
            ),
            "strange codes": DeliveryResult(
                session_id=msg.session_id, ta_id=msg.da_ta_id, transaction=Reply(999),
                rcpts=(RcptResult(rcpt_idx=0xFFFF, reply=ok), RcptResult(rcpt_idx=msg.rcpts[0].rcpt_idx, reply=Reply(777))),
            ),
        }[what]  # fmt: skip
        work.on_reply(answer)
        self.world.settle()

    @rule()
    def server_closes_idle(self):
        for agent in self.world.dadb.agents:
            for session in list(agent.sessions.values()):
                if session.state == da_fsm.State.IDLE:
                    agent.conn.open.discard(session.session_id)
                    self.world.scheduler.session_closed(agent, session.session_id)
        self.world.settle()

    @rule(seconds=st.sampled_from([1, 6, 61, 400, 4000, 15000]))
    def time_passes(self, seconds):
        self.world.clock.time_s += seconds
        self.world.scheduler.close_idle()
        with self.world.active.lock:
            self.world.active.queues.unblock_all()  # as a delivery to any destination would
        self.world.scheduler.wake()
        self.world.settle()

    @rule(jobs=st.integers(1, 3))
    def defedb_works(self, jobs):
        for _ in range(jobs):
            if self.world.defer.jobs:
                self.world.defer.jobs.popleft()()
        self.world.settle()

    @rule()
    def feed(self):
        self.world.feeder._run(self.world.feeder._task)
        self.world.settle()

    @rule()
    def flush(self):
        self.world.commit.flush()

    @rule()
    def oldest_file_is_emptied(self):
        for ta_id in list(self.world.commit.state.open)[:1]:
            self.world.storing.move_to_defedb(ta_id)

    @rule()
    def retry_all(self):
        self.world.retry_all()
        self.world.settle()

    @rule(number=st.integers(0, 20), order=st.sampled_from([one for one in Order if one]))
    def operator_orders(self, number, order):
        """Whoever it is about may wait, be busy, or have failed."""
        active = self.world.active
        with active.lock:
            rcpts = [rcpt for ta in active.aq.tas() for rcpt in ta.rcpts.values()]
            if not rcpts:
                return
            rcpt = rcpts[number % len(rcpts)]
            record, sender = rcpt.record, rcpt.sender
            what = self.world.orders.give(rcpt, order)
            assert (what is Fate.MARKED) == bool(rcpt.order)
        heard = order is Order.BOUNCE and (record.failed or not sender) and not record.flags & WARNING
        if what in (Fate.DONE, Fate.MARKED) and (order is Order.REMOVE or heard):
            self.world.waiting.difference_update((record.rcpt, *(one.rcpt for one in record.failed)))
        self.world.settle()

    @rule()
    def operator_releases(self):
        self.world.release_all()
        self.world.settle()

    @rule()
    def crash(self):
        self.world.crash()

    def decided(self, record, code):
        """Notes whom a final outcome concerns: the recipient, or those a bounce tells of."""
        if 400 <= code < 500:
            return
        if record.failed and not record.flags & WARNING:
            self.world.waiting.difference_update(one.rcpt for one in record.failed)
        elif code == 250:
            self.world.waiting.discard(record.rcpt)
        elif not record.failed:
            ta = self.world.active.aq.get(record.ta_id).record
            if not (ta.mail if record.sender is None else record.sender):
                self.world.waiting.discard(record.rcpt)

    # -- what always holds

    @invariant()
    def the_active_queue_is_consistent(self):
        active = self.world.active
        active.aq.check()
        waiting = {rcpt for queue in active.queues.queues() for one in queue.by_ta.values() for rcpt in one.values()}
        ready = {rcpt for ta in active.aq.tas() for rcpt in ta.rcpts.values() if rcpt.state is RcptState.READY}
        assert waiting == ready
        groups = self.world.gather._groups.items()
        gathering = {rcpt for _, group in groups for one in group.dests.values() for rcpt in one.values()}
        assert gathering == {rcpt for ta in active.aq.tas() for rcpt in ta.rcpts.values() if rcpt.state is RcptState.GATHERING}
        assert all(ta.unresolved and group.dests and all(group.dests.values()) for ta, group in groups)
        for queue in active.queues.queues():
            assert {rcpt.dest for one in queue.by_ta.values() for rcpt in one.values()} == {queue.key}

    @invariant()
    def no_limit_is_passed(self):
        world = self.world
        sessions = [session for agent in world.dadb.agents for session in agent.sessions.values()]
        for agent in world.dadb.agents:
            assert len(agent.sessions) <= AGENT_SESSIONS
            assert set(agent.sessions) == agent.conn.open
        for dest in world.occ.dests():
            mine = [session for session in sessions if session.key == dest.key]
            assert dest.open == len(mine) <= MAXIMUM
            assert 1 <= dest.limit <= MAXIMUM
            assert {one.session_id for one in dest.idle} == {one.session_id for one in mine if one.state == da_fsm.State.IDLE}
        assert {session.key for session in sessions} <= {dest.key for dest in world.occ.dests()}
        busy = {session.session_id for session in sessions if session.rcpts}
        assert busy == {work.msg.session_id for work in world.works}
        assert len(world.active.edbc) <= 4

    @invariant()
    def aq_keeps_its_limit_and_every_destination_its_share(self):
        """Members, bounces and warnings, too; whoever is alone leaves a third to others as soon as DEFEDB has worked."""
        aq = self.world.active.aq
        assert len(aq) <= AQ_MAX
        rcpts = [rcpt for ta in aq.tas() for rcpt in ta.rcpts.values()]
        held = Counter(rcpt.place for rcpt in rcpts if rcpt.state is not RcptState.WAIT_UPDATE)
        assert max(held.values(), default=0) <= AQ_MAX * 2 // 3
        for ta in aq.tas():
            assert ta.unsettled == sum(rcpt.state not in SETTLED for rcpt in ta.rcpts.values())
            assert ta.unresolved == sum(rcpt.state in UNRESOLVED for rcpt in ta.rcpts.values())
        assert len(self.world.active.edbc.lanes) <= 4 + len(held) + 200  # what was read at a time

    @invariant()
    def nobody_is_lost(self):
        """Each address nobody has heard of stands in a store that survives, or in a bounce that does; with its content."""
        world = self.world
        known = world.known()
        lost = {address for address in world.waiting if world.found(address, known) is None}
        assert not lost
        assert world.commit.durable.open.keys() | world.defer.tas.keys() <= world.commit.content

    @invariant()
    def no_destination_waits_without_need(self):
        """Who waits has no idle session, and could not open one."""
        world = self.world
        room = world.dadb.pick() is not None or bool(world.scheduler._idle)
        for queue in world.active.queues.queues():
            if world.occ.is_closed(queue.key, world.clock.monotonic()) is not None:
                continue
            dest = world.occ.find(queue.key)
            assert dest is None or not dest.idle, "an idle session stands beside waiting mail"
            if queue.key in world.scheduler._over:
                continue  # it has its share
            assert not room or (dest is not None and not world.occ.may_open(dest)), f"{queue.key} starves"

    # -- the end

    def drain(self):
        """With everything working again, all that is left is delivered, and nothing stays in any store."""
        world = self.world
        while len(world.dadb) < 2:
            world.agent_up()
        for _ in range(2000):
            world.clock.time_s += 500
            world.release_all()
            world.scheduler.retry_dests()
            world.resolve(world.route(SERVERS[0]))
            world.feeder._run(world.feeder._task)
            while world.defer.jobs:
                world.defer.jobs.popleft()()
            world.settle()
            while world.works:
                work = self.take(0)
                for record in self.records(work):
                    self.decided(record, 250)
                self.reply(work, transaction=Reply(250), session_open=work.msg.keep_open)
            world.commit.flush()
            self.nobody_is_lost()
            self.no_destination_waits_without_need()
            if not (len(world.active.aq) or world.defer.rcpts or world.defer.jobs or world.commit.state.open):
                break
        assert not world.waiting
        assert not world.defer.rcpts
        assert not world.commit.state.open
        assert len(world.active.aq) == 0
        assert not world.defer.tas
        assert not world.commit.content, "content without an envelope is left"


CHECKS = (
    Machine.the_active_queue_is_consistent,
    Machine.no_limit_is_passed,
    Machine.aq_keeps_its_limit_and_every_destination_its_share,
    Machine.nobody_is_lost,
    Machine.no_destination_waits_without_need,
)
TestScheduler = Machine.TestCase
TestScheduler.settings = settings(
    max_examples=200, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)


#: Events of a long run, with how often each happens beside the others.
EVENTS = {
    "accept": (6, lambda rng: {"rcpts": rng.randint(1, 5), "empty_sender": rng.random() < 0.2}),
    "resolve": (8, lambda rng: {"servers": rng.sample(SERVERS, rng.randint(1, 2))}),
    "expand": (2, lambda rng: {
        "members": rng.randint(1, 9), "parts": rng.randint(1, 3), "servers": rng.choice(SERVERS),
    }),
    "agent_is_confused": (1, lambda rng: {
        "number": rng.randrange(20), "what": rng.choice(("late", "wrong session", "wrong transaction", "strange codes")),
    }),
    "unresolved": (1, lambda rng: {"code": rng.choice((450, 550))}),
    "agent_up": (2, None),
    "agent_down": (1, None),
    "delivered": (20, lambda rng: {
        "number": rng.randrange(20), "code": rng.choice((250, 250, 250, 450, 550)),
        "own": rng.choice((None, None, 250, 450, 550)), "keep": rng.random() < 0.7,
    }),
    "session_failed": (3, lambda rng: {
        "number": rng.randrange(20), "code": rng.choice((421, 421, 554)), "own": rng.choice((None, None, 250, 450, 550)),
    }),
    "server_closes_idle": (1, None),
    "time_passes": (4, lambda rng: {"seconds": rng.choice((1, 6, 61, 400, 4000, 15000))}),
    "defedb_works": (8, lambda rng: {"jobs": rng.randint(1, 3)}),
    "feed": (6, None),
    "flush": (4, None),
    "oldest_file_is_emptied": (2, None),
    "retry_all": (1, None),
    "operator_orders": (1, lambda rng: {"number": rng.randrange(20), "order": rng.choice([one for one in Order if one])}),
    "operator_releases": (1, None),
    "crash": (0.3, None),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(25))
def test_a_long_life(seed):
    """Hypothesis makes short runs that it can shorten; this one goes deep."""
    rng = random.Random(seed)
    machine = Machine()
    machine.start()
    for _ in range(400):
        (name,) = rng.choices(list(EVENTS), [weight for weight, _ in EVENTS.values()])
        if name in ("delivered", "session_failed", "agent_is_confused") and not machine.world.works:
            continue
        if (name == "agent_up" and len(machine.world.dadb) >= 2) or (name == "agent_down" and not len(machine.world.dadb)):
            continue
        arguments = EVENTS[name][1]
        getattr(machine, name)(**(arguments(rng) if arguments else {}))
        for check in CHECKS:
            check(machine)
    machine.teardown()


def test_the_model_finds_a_lost_recipient():
    """A model that cannot fail proves nothing."""
    machine = Machine()
    machine.start()
    machine.accept(2, empty_sender=False)
    machine.world.commit.durable.open.clear()
    with pytest.raises(AssertionError):
        machine.nobody_is_lost()
    lock.set_checking(False)
