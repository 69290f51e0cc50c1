"""Pages and counts of recipients in AQ and DEFEDB."""

import json
import random

import pytest

from meta1g.base import sysexits
from meta1g.base.ids import rcpt_id
from meta1g.base.reply import Reply
from meta1g.db.aq_types import DestKey
from meta1g.qmgr.control import listing, walk
from meta1g.qmgr.limits import LIST_MAX
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.control import STORED, ControlCommand
from meta1g.tools import queuepages
from meta1g.tools.ctlclient import ControlClient
from tests.fakes.envelopes import rcpt, rcpts, ta, ta_id
from tests.fakes.qmgr_peers import Ctl
from tests.fakes.qmgr_system import wait_until


def store(qmgr, numbers, **facts):
    """Puts recipients into DEFEDB, due in less than the longest time between two tries."""
    later = {"next_try": qmgr.clock.now() + 3000, **facts}
    before = qmgr.defedb.count()
    qmgr.context.defer.ask(
        lambda db: db.store([ta(n) for n in numbers], [rcpt(n, **later) for n in numbers]), lambda gone: None
    )
    wait_until(lambda: qmgr.defedb.count() == before + len(numbers), "stored")


def pages(qmgr, *words):
    """Gives all pages; each is asked for with a connection of its own: nothing is kept between two."""
    after, found = (), []
    while True:
        with Ctl(qmgr.queue / "qmgr/control") as ctl:
            code, text, more = ctl.command("queue", *words, *after)
        assert code == 0, text
        found.append(json.loads(text))
        if not more:
            return found
        after = ("--after", more)


def stored_pages(qmgr, *words):
    """Gives all pages as mailq asks for them: records are read and selected by the client."""
    with ControlClient(qmgr.queue / "qmgr/control") as client:
        return [rows for rows, _ in queuepages.pages(client, words, "", pytest.fail)]


def ids(found):
    return [rcpt_id(row["ta"], row["rcpt_idx"]) for page in found for row in page]


def test_pages_of_both_stores_are_in_the_order_of_the_ids_and_name_everybody_once(make_qmgr, monkeypatch):
    monkeypatch.setattr(listing, "LIST_MAX", 7)
    monkeypatch.setattr(walk, "STEP", 3)
    qmgr = make_qmgr(aq_max_entries=200)
    wanted = []
    for count in (1, 9, 3):
        one = qmgr.smtps().mail(*(f"r{idx}@to.example" for idx in range(count)))
        wanted += [rcpt_id(one, idx) for idx in range(count)]
    store(qmgr, range(20))
    wanted += [rcpt_id(ta_id(n), 0) for n in range(20)]
    found = pages(qmgr)
    assert ids(found) == sorted(wanted)
    assert max(len(page) for page in found) == 7


@pytest.mark.parametrize("small", [True, False])
def test_records_as_they_stand_make_the_same_list_as_rows(make_qmgr, monkeypatch, small):
    if small:
        monkeypatch.setattr(listing, "LIST_MAX", 7)
        monkeypatch.setattr(listing, "PAGE_RECORDS", 6)
        monkeypatch.setattr(walk, "STORED_STEP", 2)
    qmgr = make_qmgr(aq_max_entries=200)
    store(qmgr, range(10))
    for count in (1, 9, 3):
        qmgr.smtps().mail(*(f"r{idx}@to.example" for idx in range(count)))
    store(qmgr, range(10, 30), rcpt="x@other.example", entered=qmgr.clock.now() - 7200, reply=Reply(450, "4.2.1", "busy", "mx"))
    qmgr.context.defer.ask(lambda db: db.store([ta(40, 9)], rcpts(40, 9)), lambda gone: None)
    wait_until(lambda: qmgr.defedb.count() == 39, "stored")
    selectors = [
        (), ("all",), ("other.example",), ("age=1h",), ("status=busy", "sender=*5@*"), ("state=active",), ("state=deferred",),
        ("recipient=r*@to.example", "age=..1h"), ("destination=mx",), (ta_id(40), ta_id(3)), (rcpt_id(ta_id(40), 4),),
    ]  # fmt: skip
    for words in selectors:
        found = [row for page in stored_pages(qmgr, *words) for row in page]
        assert found == [row for page in pages(qmgr, *words) for row in page], words
        assert found, words


def test_a_page_of_records_is_bounded_by_their_number_and_their_bytes(qmgr, monkeypatch):
    store(qmgr, range(60))
    for limit in ("PAGE_RECORDS", "PAGE_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(walk, "STORED_STEP", 4)
            patch.setattr(listing, limit, 10)
            sizes = [len(page) for page in stored_pages(qmgr)]
        assert sum(sizes) == 60
        assert max(sizes) <= 8, limit


def test_pages_with_a_selector_end_after_a_bounded_look_even_if_they_are_empty(qmgr, monkeypatch):
    monkeypatch.setattr(listing, "PAGE_LOOKS", 10)
    monkeypatch.setattr(walk, "STEP", 5)
    store(qmgr, range(40))
    store(qmgr, [40], rcpt="x@rare.example")
    found = pages(qmgr, "rare.example")
    assert ids(found) == [rcpt_id(ta_id(40), 0)]
    assert [len(page) for page in found[:4]] == [0] * 4


@pytest.mark.parametrize("form", [(), (STORED,)])
def test_what_is_there_all_the_time_is_listed_once_whatever_comes_and_goes(qmgr, monkeypatch, form):
    monkeypatch.setattr(listing, "LIST_MAX", 5)
    monkeypatch.setattr(listing, "PAGE_RECORDS", 8)
    monkeypatch.setattr(walk, "STORED_STEP", 2)
    rng = random.Random(7)
    store(qmgr, range(0, 200, 2))
    stable = {rcpt_id(ta_id(n), 0) for n in range(0, 200, 2)}
    seen, after, extra = [], (), list(range(1, 200, 2))
    rng.shuffle(extra)
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        while True:
            answer = ctl.peer.request(ControlCommand(words=("queue", *form, *after)))
            more = answer.more
            seen += ids([json.loads(answer.text), [one.row() for one in queuepages.recipients(answer.stored, pytest.fail)]])
            if not more:
                break
            after = ("--after", more)
            if extra:
                store(qmgr, [extra.pop()])
            if extra and rng.random() < 0.5:
                ctl.ask("remove", "all", "--dry-run")
                ctl.ask("remove", ta_id(extra[0]))
    assert len(seen) == len(set(seen))
    assert stable <= set(seen)


def test_a_recipient_that_moves_from_one_store_to_the_other_is_not_overlooked(qmgr):
    """It is looked for in AQ first: what leaves it then is in DEFEDB."""
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: None)
    one = qmgr.smtps().mail("a@to.example")
    (job,) = agent.wait_jobs(1)
    context, found = qmgr.context, []
    work = context.control._listing.queue([])

    def steps(db):
        page = work(db)
        for pause_s in page:
            if not job.answered:
                job.done(450)  # between two steps
            yield pause_s
        return ()

    def whole(db):
        found.append((yield from work(db)))

    context.defer.scan(steps, lambda nothing: context.defer.scan(whole, lambda nothing: None))
    wait_until(lambda: found, "listed")
    assert [row["ta"] for row in found[0][0]] == [one]


def test_selected_ids_are_looked_up_in_order(qmgr):
    store(qmgr, range(5))
    one = qmgr.smtps().mail("a@to.example", "b@to.example")
    wait_until(lambda: len(qmgr.states()) == 2, "in AQ")
    assert ids(pages(qmgr, ta_id(3), rcpt_id(one, 1), ta_id(1))) == [
        rcpt_id(ta_id(1), 0),
        rcpt_id(ta_id(3), 0),
        rcpt_id(one, 1),
    ]


def test_a_transaction_with_many_recipients_is_shown_in_pages(qmgr):
    records = [rcpt(1, idx, next_try=qmgr.clock.now() + 3000) for idx in range(LIST_MAX + 50)]
    qmgr.context.defer.ask(lambda db: db.store([ta(1)], records), lambda gone: None)
    wait_until(lambda: qmgr.defedb.count() == len(records), "stored")
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        _, text, more = ctl.command("show", ta_id(1))
        rest = json.loads(ctl.command("show", ta_id(1), "--after", more)[1])
        assert [row["rcpt_idx"] for row in json.loads(text) + rest] == list(range(LIST_MAX + 50))
        assert ctl.ask("transaction", rcpt_id(ta_id(1), 7))["mail"] == "<s1@from.example>"


def test_counts_are_by_something_and_by_age(qmgr):
    now = qmgr.clock.now()
    store(qmgr, range(3), rcpt="a@one.example", entered=now - 60)
    store(qmgr, range(3, 5), rcpt="a@two.example", entered=now - 3 * 86400, reply=Reply(450, "4.2.1", "busy"))
    qmgr.smtps().mail("b@one.example")
    wait_until(qmgr.states, "in AQ")
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        by = ctl.ask("count", "domain")
        assert [(row["key"], row["total"], row["ages"][0], row["ages"][-1]) for row in by["rows"]] == [
            ("one.example", 4, 4, 0), ("two.example", 2, 0, 2),
        ]  # fmt: skip
        assert (by["total"], by["ages"][0], by["ages"][-1], len(by["ages_min"])) == (6, 4, 2, 9)
        assert [row["key"] for row in ctl.ask("count", "status")["rows"]] == ["-", "450 4.2.1"]
        assert {row["key"]: row["total"] for row in ctl.ask("count", "state")["rows"]} == {"deferred": 5, "active": 1}
        assert ctl.ask("count", "sender", "two.example")["total"] == 2
        assert ctl.ask("count", "age", "age=1d")["ages"] == [0] * 9 + [2]
        assert ctl.command("count", "colour")[0] == sysexits.EX_USAGE


def test_more_different_things_than_are_counted_apart_are_counted_together(qmgr, monkeypatch):
    monkeypatch.setattr(listing, "COUNT_KEYS_MAX", 4)
    monkeypatch.setattr(listing, "LIST_MAX", 2)
    store(qmgr, range(10))
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        by = ctl.ask("count", "sender")
    assert (by["total"], len(by["rows"]), by["others"], sum(by["others_ages"])) == (10, 2, 8, 8)


def test_destinations_come_in_pages(qmgr, monkeypatch):
    monkeypatch.setattr(listing, "LIST_MAX", 3)
    keys = [DestKey(da, f"192.0.2.{number}", port) for da in (0, 1) for number in (1, 2) for port in (25, 2500)]
    with qmgr.context.active.lock:
        for key in keys:
            qmgr.context.scheduler.occ.get(key)
    after, rows = (), []
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        while True:
            _, text, more = ctl.command("destinations", *after)
            rows += json.loads(text)
            if not more:
                break
            after = ("--after", more)
    assert sorted(DestKey(DeliveryAgent[row["da"].upper()], row["server"], row["port"]) for row in rows) == sorted(keys)
    assert len(rows) == len(keys)


@pytest.mark.parametrize("words", [("--after",), ("--after", "x"), ("--after", ta_id(1))])
def test_a_page_begins_behind_a_recipient(qmgr, words):
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        code, text, _ = ctl.command("queue", *words)
    assert (code, "--after needs the id of a recipient" in text) == (sysexits.EX_USAGE, True)
