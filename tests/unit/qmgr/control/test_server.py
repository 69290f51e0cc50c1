import json
import os

import pytest

from meta1g.base import sysexits
from meta1g.qmgr.limits import LIST_MAX
from tests.fakes.envelopes import rcpt, ta, ta_id
from tests.fakes.qmgr_peers import Ctl, new_id
from tests.fakes.qmgr_system import wait_until


@pytest.fixture
def ctl(qmgr):
    with Ctl(qmgr.queue / "qmgr/control") as client:
        yield client


def all_rows(ctl) -> list[dict]:
    """Follows `more` to the end."""
    code, text, more = ctl.command("queue")
    rows = json.loads(text)
    while more:
        code, text, more = ctl.command("queue", "--after", more)
        assert len(json.loads(text)) <= LIST_MAX
        rows += json.loads(text)
    assert code == 0
    return rows


def test_status_counts_what_there_is(qmgr, ctl):
    qmgr.smar()
    qmgr.agent(script=lambda job: None)
    qmgr.smtps().mail("a@to.example", "b@to.example")
    wait_until(lambda: set(qmgr.states().values()) == {"SCHEDULED"}, "both are delivered")
    status = ctl.ask("status")
    names = ("aq", "aq_transactions", "defedb", "ibdb_open", "ibdb_files", "smtps", "smtpc", "smar", "destinations")
    assert [status[name] for name in names] == [2, 1, 0, 1, 1, 1, 1, 1, 1]
    assert (status["pid"], status["accept_percent"], status["accept_reason"]) == (os.getpid(), 100, "")


def test_usage_tells_every_resource(qmgr, ctl):
    wait_until(lambda: qmgr.context.resources.usage, "the resources were looked at")
    usage = ctl.ask("usage")
    assert {"disk_cdb", "disk_ibdb", "disk_defedb", "iqdb", "aq"} <= usage.keys()
    assert usage["free_bytes"]["disk_cdb"] > 0


def test_the_queue_lists_aq_and_defedb_without_naming_anybody_twice(qmgr, ctl):
    smar = qmgr.smar()
    smar.answers["silent.example"] = None
    qmgr.agent(script=lambda job: job.done(450, text="busy"))
    first = qmgr.smtps().mail("r@later.example")
    qmgr.wait_deferred(1)
    second = qmgr.peers[2].mail("r@silent.example")
    wait_until(lambda: set(qmgr.states().values()) == {"SENT_TO_AR"}, "asked for")
    rows = ctl.ask("queue")
    assert [(row["ta"], row["rcpt"], row["where"], row["tries"]) for row in rows] == [
        (first, "r@later.example", "defedb", 1), (second, "r@silent.example", "aq sent_to_ar", 0),
    ]  # fmt: skip
    assert (rows[0]["status"], rows[0]["mail"], rows[0]["size"] > 0, rows[0]["remote_mta"]) == (
        "450 4.0.0 busy", "s@from.example", True, "mx-192.0.2.1[192.0.2.1]",
    )  # fmt: skip


def test_a_recipient_of_defedb_that_is_in_aq_is_listed_once(qmgr, ctl):
    smar = qmgr.smar()
    qmgr.agent(script=lambda job: job.done(450))
    qmgr.smtps().mail("r@to.example")
    qmgr.wait_deferred(1)
    smar.answers["to.example"] = None
    qmgr.advance(700)
    wait_until(qmgr.states, "fed")
    assert len(ctl.ask("queue")) == 1


def test_a_long_queue_comes_in_parts_and_nothing_is_missing(make_qmgr):
    """More recipients in AQ and in DEFEDB than one answer takes."""
    qmgr = make_qmgr(aq_max_entries=2000, iqdb_max_entries=10_000)
    smtps = qmgr.smtps()
    ids = [smtps.mail(*(f"r{idx}@to.example" for idx in range(300))) for _ in range(4)]
    later = qmgr.clock.now() + 3000
    numbers = range(700)
    qmgr.context.defer.ask(
        lambda db: db.store([ta(n) for n in numbers], [rcpt(n, next_try=later) for n in numbers]), lambda gone: None
    )
    wait_until(lambda: qmgr.defedb.count() == 700, "stored")
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        rows = all_rows(ctl)
    wanted = {(one, idx) for one in ids for idx in range(300)} | {(ta_id(number), 0) for number in numbers}
    assert sorted((row["ta"], row["rcpt_idx"]) for row in rows) == sorted(wanted)


def test_show_lists_one_transaction_from_both_stores(qmgr, ctl):
    smar = qmgr.smar()
    smar.answers["silent.example"] = None
    qmgr.agent(script=lambda job: job.done(450))
    one = qmgr.smtps().mail("a@later.example", "b@silent.example")
    wait_until(lambda: qmgr.context.defer.count == 1 and len(qmgr.states()) == 1, "one is deferred")
    assert {(row["rcpt"], row["where"]) for row in ctl.ask("show", one)} == {
        ("a@later.example", "defedb"), ("b@silent.example", "aq sent_to_ar"),
    }  # fmt: skip


def test_show_of_an_unknown_transaction_says_so(ctl):
    for words in (("show", new_id()), ("transaction", new_id()), ("show", f"{new_id()}-0001")):
        code, text, _ = ctl.command(*words)
        assert (code, ": no such transaction" in text) == (sysexits.EX_NOINPUT, True)


def test_destinations_tell_what_is_known(qmgr, ctl):
    qmgr.smar()
    qmgr.agent(script=lambda job: job.failed(text="no route"))
    qmgr.smtps().mail("r@to.example")
    qmgr.wait_deferred(1)
    (row,) = ctl.ask("destinations")
    assert (row["server"], row["port"], row["open"], row["failure"]) == ("192.0.2.1", 25, 0, "451 4.4.1 no route")
    assert row["closed_s"] > 0


@pytest.mark.parametrize(
    ("words", "told"),
    [(("nonsense",), "unknown command; commands are: status"), ((), "unknown command"), (("retry",), "retry needs"),
     (("remove", "a", "b"), "not a transaction id: 'a'"), (("show",), "show needs"),
     (("remove", "S1-zz"), "qmgrctl queue lists the ids"), (("show", "a", "b"), "show needs"),
     (("remove", "x"), "not a transaction id"), (("show", "../x"), "not a transaction id"),
     (("queue", "x"), "not a transaction id")],
)  # fmt: skip
def test_a_wrong_command_is_refused_with_what_to_do(ctl, words, told):
    code, text, _ = ctl.command(*words)
    assert code == sysexits.EX_USAGE
    assert told in text
