"""Pieces of configuration in the access map: who has one, and what becomes of mail when one is wrong."""

import pytest

from meta1g.base.log import Log
from meta1g.maps.base import NOMORE, temp
from meta1g.maps.static import StaticMap
from meta1g.maps.wrong import WrongEntries
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.qmgr_smar import Route
from meta1g.smar.hostconf import NO_CONF, HostConf
from meta1g.smtp.address import parse_path
from tests.fakes.lines import Lines

ONE = "max_recipients = 1;"
TWO = "max_recipients = 2;"
FAST = "command_timeout = 1m;"
TLS = "tls_requirements { flags = { encrypted }; }"
WRONG = "tls_requirements { flags = { encripted }; }"
MX = ServerAddr(addr="192.0.2.7", port=25, host="mx.example.net", pref=1)
BACKUP = ServerAddr(addr="198.51.100.7", port=25, host="backup.example", pref=2)
ROUTE = Route(da=0, servers=(MX, BACKUP))


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def made(lines):
    return lambda entries: HostConf(StaticMap("rules", entries), "+", WrongEntries(Log("smar", sink=lines)))


def test_a_client_has_the_most_specific_snippet_by_address_then_by_name(made):
    conf = made(
        {"smtps_session_conf:192.0.2.1": ONE, "smtps_session_conf:192.0.2": TWO, "smtps_session_conf:.a.org": "max_hops = 9;"}
    )
    assert conf.client("192.0.2.1", "h.a.org") == ONE
    assert conf.client("192.0.2.9", "h.a.org") == TWO
    assert conf.client("203.0.113.1", "h.a.org") == "max_hops = 9;"
    assert conf.client("203.0.113.1", "") == ""
    assert conf.client("unix:/run/x", "") == ""


def test_servers_get_theirs_with_the_route(made):
    conf = made({"smtpc_session_conf:.example.net": FAST, "smtpc_session_conf:unix:/run/lmtp": FAST})
    found = conf.applied("u@x.org", ROUTE)
    assert [one.conf for one in found.servers] == [FAST, ""]
    assert found.servers[1] is BACKUP
    local = Route(da=1, servers=(ServerAddr(addr="unix:/run/LMTP", port=0, host="unix:/run/LMTP"),))
    assert conf.applied("u@x.org", local).servers[0].conf == FAST


def test_a_recipient_gets_its_own_with_the_route(made):
    conf = made({"smtpc_rcpt_conf:u@x.org": TLS, "smtpc_session_conf:.example.net": FAST})
    found = conf.applied("u+d@x.org", ROUTE)
    assert (found.rcpt_conf, [one.conf for one in found.servers]) == (TLS, [FAST, ""])
    assert conf.applied("u@x.com", ROUTE).rcpt_conf == ""


def test_without_such_entries_a_route_stays_as_it_is(made):
    assert made({"from:x.org": "reject"}).applied("u@x.org", ROUTE) is ROUTE
    assert made({"smtpc_rcpt_conf:other.org": TLS}).applied("u@x.org", ROUTE) is ROUTE


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("smtpc_rcpt_conf:u@x.org", WRONG, "did you mean encrypted?"),
        ("smtpc_rcpt_conf:x.org", WRONG, "did you mean encrypted?"),
        ("smtpc_session_conf:mx.example.net", WRONG, "did you mean encrypted?"),
        ("smtpc_session_conf:198.51", "comand_timeout = 1m;", "did you mean command_timeout?"),
    ],
)
def test_what_is_wrong_puts_mail_off_and_is_logged(made, lines, key, value, why):
    conf = made({key: value})
    assert conf.applied("u@x.org", ROUTE) == NO_CONF
    assert conf.applied("u@x.org", ROUTE) == NO_CONF
    assert NO_CONF.reply.code == 451
    (line,) = lines.lines
    assert "sevr=ERROR" in line
    assert f"map=rules, key={key}, answer={value.split(',')[0]}" in line
    assert why in line


@pytest.mark.parametrize(("answer", "expected"), [(temp("away"), None), (NOMORE, "")])
def test_a_map_that_does_not_answer_puts_mail_off(answer, expected):
    class Answering(StaticMap):
        def lookup(self, key):
            return answer

        def tags(self):
            return None

    conf = HostConf(Answering("a", {}), "+", WrongEntries(Log("smar", level=0)))
    assert conf.client("192.0.2.1", "") == expected
    assert conf.recipient(parse_path("u@x.org")) == expected


def test_a_snippet_is_asked_for_and_checked_once_for_each_content_of_the_map():
    class Counting(StaticMap):
        asked, number = 0, 0

        def lookup(self, key):
            self.asked += 1
            return super().lookup(key)

        def version(self):
            return self.number

    table = Counting("a", {"smtps_session_conf:192": ONE})
    conf = HostConf(table, "+", WrongEntries(Log("smar", level=0)))
    for _ in range(3):
        assert conf.client("192.0.2.1", "") == ONE
    assert table.asked == 4
    table.number += 1
    assert conf.client("192.0.2.1", "") == ONE
    assert table.asked == 8
