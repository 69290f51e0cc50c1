"""Limits that are changed at run time: each has effect."""

import pytest

from meta1g.base import sysexits
from meta1g.qmgr.tuning import LIMITS
from tests.fakes.qmgr_peers import Ctl, new_id
from tests.fakes.qmgr_system import wait_until


@pytest.fixture
def ctl(qmgr):
    with Ctl(qmgr.queue / "qmgr/control") as client:
        yield client


def test_every_limit_is_shown_with_its_value_and_meaning(qmgr, ctl):
    rows = {row["name"]: row for row in ctl.ask("limits")}
    assert rows.keys() == LIMITS.keys()
    assert (rows["min_retry_delay"]["value"], rows["min_retry_delay"]["text"]) == (300, "5m")
    assert all(row["meaning"] and not row["changed"] for row in rows.values())


def test_a_change_is_told_and_holds(qmgr, ctl):
    (row,) = ctl.ask("limits", "SMTPC.max_connections=7")
    assert (row["name"], row["value"], row["changed"]) == ("smtpc.max_connections", 7, True)
    assert {row["name"] for row in ctl.ask("limits") if row["changed"]} == {"smtpc.max_connections"}
    assert qmgr.sink.find("func=qmgr.control.*command=limits SMTPC.max_connections=7")


@pytest.mark.parametrize(
    ("words", "told"),
    [(["AQ_max_entries"], "write NAME=VALUE"), (["x=1"], "names are: AQ_max_entries"),
     (["AQ_max_entries=0"], "AQ_max_entries: "),
     (["min_retry_delay=soon"], "is not a time"), (["min_retry_delay=2h"], "would be greater than max_retry_delay"),
     (["max_retry_delay=1s"], "min_retry_delay would be greater"), (["AQ_max_entries=50", "x=1"], "names are"),
     (["ok_free_disk=0", "min_free_disk=1MB"], "would be greater than ok_free_disk")],
)  # fmt: skip
def test_a_wrong_change_changes_nothing(qmgr, ctl, words, told):
    before = ctl.ask("limits")
    code, text, _ = ctl.command("limits", *words)
    assert (code, told in text) == (sysexits.EX_USAGE, True), text
    assert ctl.ask("limits") == before


def test_the_active_queue_takes_no_more_than_it_may_now(qmgr, ctl):
    ctl.ask("limits", "AQ_max_entries=3")
    qmgr.smtps().mail(*(f"r{idx}@d{idx}.example" for idx in range(5)))
    wait_until(lambda: qmgr.context.defer.count == 5, "it went to DEFEDB")


def test_the_incoming_queue_takes_no_more_than_it_may_now(qmgr, ctl):
    smtps = qmgr.smtps()
    ctl.ask("limits", "IQDB_max_entries=1")
    assert smtps.connect(session=new_id()).code == 220
    assert smtps.connect(session=new_id()).code == 421


@pytest.mark.parametrize("limit", ["smtps.max_connections=1", "smtps.max_connection_rate=1"])
def test_a_client_gets_no_more_than_it_may_now(qmgr, ctl, limit):
    smtps = qmgr.smtps()
    ctl.ask("limits", limit)
    assert [smtps.connect(session=new_id()).code for _ in range(2)] == [220, 421]


def test_a_destination_gets_no_more_sessions_than_it_may_now(qmgr, ctl):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: None)
    ctl.ask("limits", "smtpc.initial_connections=1", "smtpc.max_connections=1")
    smtps = qmgr.smtps()
    for _ in range(3):
        smtps.mail("r@to.example")
    agent.wait_jobs(1)
    wait_until(lambda: sorted(qmgr.states().values()) == ["READY", "READY", "SCHEDULED"], qmgr.states)
    ctl.ask("limits", "smtpc.max_connections=2")
    agent.jobs[0].done()
    agent.wait_jobs(3)


def test_times_of_retries_and_reports_are_those_of_now(qmgr, ctl):
    ctl.ask("limits", "max_retry_delay=1d", "min_retry_delay=20h", "max_rcpts_per_transaction=1", "delay_dsn_timeout=0")
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.done(450))
    qmgr.smtps().mail("a@to.example", "b@to.example")
    qmgr.wait_deferred(2)
    assert [len(job.rcpts) for job in agent.jobs] == [1, 1]
    assert all(one.next_try > qmgr.clock.now() + 17 * 3600 for one in qmgr.defedb.scan(None, 9))
    qmgr.advance(3 * 3600)  # more than the old bound: nothing of it is a wrong clock
    ctl.ask("retry", "nobody.example")
    assert [len(job.rcpts) for job in agent.jobs] == [1, 1]
    ctl.ask("limits", "return_timeout=1s")
    agent.script = lambda job: job.done(450) if job.rcpts != ["s@from.example"] else job.done()
    qmgr.advance(2)
    ctl.ask("retry", "all")
    qmgr.wait_empty()


def test_disks_and_files_are_watched_with_the_bounds_of_now(qmgr, ctl):
    ctl.ask("limits", "ok_free_disk=100000GB", "min_free_disk=100000GB")
    assert qmgr.context.resources.look().percent == 0
    ctl.ask("limits", "min_free_disk=0", "ok_free_disk=0")
    assert qmgr.context.resources.look().percent == 100
    qmgr.smtps().mail("a@to.example")
    ctl.ask("limits", "IBDB.max_open=1")
    assert qmgr.context.resources.look().percent == 0
