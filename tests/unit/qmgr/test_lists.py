"""Lists of any size: within the limit of AQ, in slices, and nobody is lost."""

import gc
import threading
import time

import pytest

from meta1g.db.aq_types import AqRcpt, AqTa, Home, RcptState
from meta1g.qmgr.limits import LISTS_MAX, MEMBERS_MAX, SLICE, SMALL_LISTS_MAX
from meta1g.qmgr.lists import Expansion, Lists, Parts
from meta1g.rcb.qmgr_smar import MEMBERS_PER_PART, Members
from tests.fakes.envelopes import rcpt, ta
from tests.fakes.qmgr_peers import route
from tests.fakes.qmgr_system import wait_until


def alias(number: int) -> AqRcpt:
    return AqRcpt(AqTa(ta(number), in_ibdb=True, in_defedb=False), rcpt(number), Home.IBDB)


def in_parts(members):
    """An answer of SMAR for a list."""

    def answer(msg):
        part = tuple(members[msg.offset : msg.offset + MEMBERS_PER_PART])
        return Members(members=part, more=msg.offset + len(part) < len(members), offset=msg.offset, expansion="e")

    return answer


# -- places


def test_a_bounded_number_of_lists_is_expanded_at_a_time_and_large_ones_do_not_hold_up_small_ones():
    lists = Lists()
    large = [alias(number) for number in range(LISTS_MAX + 2)]
    begun = [lists.begin(one, large=True) for one in large]
    assert begun == [True] * LISTS_MAX + [False] * 2
    small = [alias(number) for number in range(SMALL_LISTS_MAX + 1)]
    assert [lists.begin(one, large=False) for one in small] == [True] * SMALL_LISTS_MAX + [False]
    assert lists.begin(large[0], large=True), "it has its place already"


def test_those_who_wait_are_called_as_places_become_free_and_keep_them():
    lists = Lists()
    large = [alias(number) for number in range(LISTS_MAX + 3)]
    for one in large:
        if not lists.begin(one, large=True):
            lists.wait(one, large=True)
    assert lists.waiting == 3
    called = []
    lists.call(called.append)
    assert called == []
    lists.end(large[0])
    large[LISTS_MAX].state = RcptState.DONE  # the operator removed it
    lists.call(called.append)
    assert called == [large[LISTS_MAX + 1]]
    assert not lists.begin(alias(99), large=True), "the place is kept"
    assert lists.begin(called[0], large=True)


def test_a_small_list_that_turns_out_large_needs_another_place():
    lists, one = Lists(), alias(1)
    assert lists.begin(one, large=False)
    for number in range(2, LISTS_MAX + 2):
        lists.begin(alias(number), large=True)
    assert not lists.begin(one, large=True)
    lists.wait(one, large=True)
    assert lists.waiting == 1


def test_a_list_beyond_all_bounds_is_not_taken():
    parts = Parts(members=["x"] * MEMBERS_MAX, expansion="e", begun=1)
    assert not parts.take(Members(members=("y",), offset=MEMBERS_MAX, expansion="e"))


def test_an_expansion_gives_its_members_in_slices():
    members = [str(number) for number in range(2 * SLICE + 1)]
    expansion = Expansion(alias(1), members, None)
    seen = []
    while expansion.more:
        seen.append(expansion.slice())
    assert [len(part) for part in seen] == [SLICE, SLICE, 1]
    assert [one for part in seen for one in part] == members


# -- a whole queue manager


class HeldLock:
    """The lock AQ, with the longest CPU time for which it was held."""

    def __init__(self, lock):
        self.real, self.longest_s, self.since = lock, 0.0, {}

    def __enter__(self):
        self.real.acquire()
        self.since[threading.get_ident()] = time.thread_time()
        return self

    def __exit__(self, *exc):
        used = time.thread_time() - self.since[threading.get_ident()]
        self.longest_s = max(self.longest_s, used)
        self.real.release()

    def __getattr__(self, name):
        return getattr(self.real, name)


def members(count):
    return [f"m{number}@d{number % 50}.example" for number in range(count)]


@pytest.fixture
def frozen_heap():
    """What other tests left in memory is no garbage to be looked at while a lock is held."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("code", [250, 550])
def test_a_large_list_passes_through_a_small_aq_in_slices_and_other_mail_with_it(make_qmgr, frozen_heap, code):
    """Each member fails in the second run: reports and their recipients take places, too."""
    qmgr = make_qmgr(aq_max_entries=400, smtpc_initial_connections=20, smtpc_max_connections=20)
    everybody = members(6000)
    smar = qmgr.smar()
    smar.answers["list@to.example"] = in_parts(everybody)
    active = qmgr.context.active
    active.lock = held = HeldLock(active.lock)
    most = []

    def deliver(job):
        most.append(len(qmgr.aq))
        job.done(code if job.msg.mail else 250)

    agent = qmgr.agent(script=deliver)
    smtps = qmgr.smtps()
    smtps.mail("list@to.example")
    for number in range(10):
        smtps.mail(f"r{number}@other.example")
    wait_until(lambda: sum("@other.example" in job.rcpts[0] for job in list(agent.jobs)) == 10, "other mail")
    qmgr.wait_empty(120)
    delivered = [one for job in agent.jobs if job.msg.mail for one in job.rcpts if "@other" not in one]
    assert sorted(delivered) == sorted(everybody), "everybody once"
    assert max(most) <= 400
    assert held.longest_s < 0.25
    if code == 550:
        told = b"".join(job.told for job in agent.jobs)
        assert told.count(b"Final-Recipient: ") == 6000 + 10


def test_more_large_lists_than_places_are_expanded_one_after_the_other(make_qmgr):
    qmgr = make_qmgr(aq_max_entries=100)
    smar = qmgr.smar()
    count = LISTS_MAX * 2 + 1
    for number in range(count):
        smar.answers[f"list{number}@to.example"] = in_parts([f"m{one}@l{number}.example" for one in range(SLICE + 1)])
    agent = qmgr.agent(script=lambda job: job.done())
    smtps = qmgr.smtps()
    for number in range(count):
        smtps.mail(f"list{number}@to.example")
    qmgr.wait_empty(120)
    assert len({one for job in agent.jobs for one in job.rcpts}) == count * (SLICE + 1)
    assert sum(len(job.rcpts) for job in agent.jobs) == count * (SLICE + 1)


def test_a_resolver_that_is_lost_in_the_middle_of_a_list_is_asked_again(qmgr):
    smar = qmgr.smar()
    everybody = members(1500)
    whole = in_parts(everybody)
    smar.answers["list@to.example"] = lambda msg: whole(msg) if msg.offset == 0 else None
    agent = qmgr.agent(script=lambda job: job.done())
    qmgr.smtps().mail("list@to.example")
    wait_until(lambda: any(getattr(msg, "offset", 0) for msg in list(smar.messages)), "the second part was asked for")
    smar.stop()
    smar.answers["list@to.example"] = whole
    smar.start()
    qmgr.wait_empty(120)
    assert sorted(one for job in agent.jobs for one in job.rcpts) == sorted(everybody)


def test_a_restart_in_the_middle_of_a_large_list_loses_nobody(make_qmgr):
    qmgr = make_qmgr(aq_max_entries=100)
    everybody = members(2000)
    qmgr.smar().answers["list@to.example"] = in_parts(everybody)
    agent = qmgr.agent(script=lambda job: job.done())
    qmgr.smtps().mail("list@to.example")
    agent.wait_jobs(20)
    qmgr.restart()
    qmgr.smar().answers["list@to.example"] = in_parts(everybody)
    again = qmgr.agent(script=lambda job: job.done())
    qmgr.wait_empty(120)
    assert {one for job in (*agent.jobs, *again.jobs) for one in job.rcpts} == set(everybody)


def test_an_answer_that_cannot_be_taken_defers_the_recipient_and_nobody_else(qmgr, monkeypatch):
    smar = qmgr.smar()
    smar.answers["bad.example"] = route("192.0.2.66")
    real = qmgr.context.update.resolved

    def resolved(one, da, servers):
        if servers[0].addr == "192.0.2.66":
            raise RuntimeError("unexpected")
        real(one, da, servers)

    monkeypatch.setattr(qmgr.context.update, "resolved", resolved)
    agent = qmgr.agent()
    qmgr.smtps().mail("r@bad.example")
    qmgr.smtps().mail("r@good.example")
    agent.wait_jobs(1)
    wait_until(lambda: qmgr.context.defer.count == 1, "deferred")
    assert qmgr.sink.find("where=qmgr.resolve.*contained: RuntimeError")
