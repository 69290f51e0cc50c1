import pytest

from meta1g.base.clock import SystemClock
from meta1g.base.ids import IdGenerator
from meta1g.base.reply import Reply
from meta1g.db.aq_types import AqRcpt, AqTa, DestKey, Home
from meta1g.db.dadb import Agent, DaSession
from meta1g.qmgr.deliver import Builder, addresses_of
from meta1g.qmgr.limits import ADDRESSES_MAX
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.envelope import DsnRcpt, RcptFlags
from meta1g.rcb.smtpc_qmgr import DeliverRcpt
from tests.fakes.envelopes import rcpt, ta, ta_id
from tests.fakes.qmgr_system import settings

SERVERS = (ServerAddr(addr="192.0.2.1", port=25, host="a"), ServerAddr(addr="192.0.2.2", port=2525, host="b"))
SENT = {"mail": "s@x.example", "ret": "HDRS", "envid": "e1", "body": "8BITMIME", "smtputf8": True, "requiretls": True}


def build(*records, new_session=True, keep_open=True):
    it = AqTa(ta(1, **SENT), in_ibdb=True, in_defedb=False)
    rcpts = [AqRcpt(it, record, Home.IBDB) for record in records]
    for one in rcpts:
        one.servers, one.server_idx, one.da = SERVERS, 1, 1
    session = DaSession("C1", Agent(None, 0, 1, 9), DestKey(1, "192.0.2.2", 2525), 1)
    builder = Builder(settings(), IdGenerator("C", 0, SystemClock()), SystemClock())
    return builder.build(session, rcpts, new_session=new_session, keep_open=keep_open)


def test_a_delivery_carries_the_envelope_and_the_server_to_try_now():
    job = build(rcpt(1, 0, notify="NEVER", orcpt="rfc822;o"), rcpt(1, 4))
    assert (job.session_id, job.new_session, job.keep_open, job.da, job.server) == ("C1", True, True, 1, (SERVERS[1],))
    assert (job.ta_id, job.cdb_id, job.size_bytes) == (ta_id(1), ta_id(1), 1000)
    assert {name: getattr(job, name) for name in SENT} == SENT
    assert job.rcpts == (
        DeliverRcpt(rcpt_idx=0, rcpt="<r0@to.example>", notify="NEVER", orcpt="rfc822;o"),
        DeliverRcpt(rcpt_idx=4, rcpt="<r4@to.example>"),
    )
    assert (job.dsn_head, job.dsn_parts, job.dsn_full) == (None, (), False)


def server(addr, **facts):
    return ServerAddr(**{"addr": addr, "port": 25, "host": "mx", "pref": 1, "ttl_s": 60, **facts})


@pytest.mark.parametrize(
    ("servers", "idx", "count"),
    [
        ([server("1"), server("2", ttl_s=7), server("3")], 0, 3),
        ([server("1"), server("2"), server("3")], 1, 2),
        ([server("1"), server("2", host="other"), server("3")], 0, 1),
        ([server("1"), server("2", pref=2)], 0, 1),
        ([server("1"), server("2", port=26)], 0, 1),
        ([server("1"), server("2", conf="dot_timeout = 1m;")], 0, 1),
        ([server(str(number)) for number in range(9)], 0, ADDRESSES_MAX),
    ],
)
def test_the_addresses_of_a_server_are_those_that_differ_in_nothing_else(servers, idx, count):
    assert addresses_of(servers, idx) == tuple(servers[idx : idx + count])


def test_recipients_share_the_addresses_that_come_next_for_all_of_them():
    """How many were tried counts for each recipient: a server that follows for one of them alone would be passed over."""
    it = AqTa(ta(1), in_ibdb=True, in_defedb=False)
    rcpts = [AqRcpt(it, rcpt(1, number), Home.IBDB) for number in range(2)]
    both = server("1"), server("2")
    builder = Builder(settings(), IdGenerator("C", 0, SystemClock()), SystemClock())
    session = DaSession("C1", Agent(None, 0, 1, 9), DestKey(0, "1", 25), 1)
    other_host = server("3", host="b")
    for other, expected in (
        (both, both),
        ((server("1", ttl_s=1), server("2", ttl_s=1)), both),
        ((server("1", host="b"),), both[:1]),
        ((server("1"),), both[:1]),
        ((server("1"), server("4"), server("2")), both[:1]),
        ((server("1"), other_host), both[:1]),
    ):
        rcpts[0].servers, rcpts[1].servers = both, other
        assert builder.build(session, rcpts, new_session=True, keep_open=True).server == expected


def test_the_sender_of_a_list_member_is_the_owner():
    assert build(rcpt(1, sender="owner-l@x.example")).mail == "owner-l@x.example"


def test_a_report_goes_around_the_content_and_not_by_the_parameters_of_the_message():
    job = build(rcpt(1, 3, sender="", flags=RcptFlags.IS_BNC, failed=(DsnRcpt(rcpt="x@y.example", reply=Reply(550)),)))
    assert job.mail == ""
    assert (job.ret, job.envid, job.requiretls, job.dsn_full) == (None, None, True, False)
    assert job.dsn_head.startswith(b"Date: ")
    assert [part.mime_type for part in job.dsn_parts] == ["text/plain", "message/delivery-status"]
    assert job.size_bytes == 1000
    assert (job.body, job.smtputf8) == ("8BITMIME", True)


def test_each_delivery_has_an_id_of_its_own():
    assert build(rcpt(1)).da_ta_id != build(rcpt(1)).da_ta_id
