from pathlib import Path

import pytest

from meta1g.maps.base import temp
from meta1g.maps.static import StaticMap
from meta1g.maps.textmap import TextMap
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.qmgr_smar import Members, Resolve, ResolveFlags, Route, Unresolved
from meta1g.smar.alias import Aliases
from meta1g.smar.limits import INTERFACES_TTL_S
from meta1g.smar.myself import Myself
from meta1g.smar.recipient import Recipients
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import RouteDefaults, Routes
from tests.unit.maps.conftest import StillClock

from .conftest import Heard

DEFAULTS = RouteDefaults(25, "lmtpsock", Path("/q"))


class Counting(StaticMap):
    """Counts the questions; its version can be raised."""

    def __init__(self, entries):
        super().__init__("c", entries)
        self.asked, self.number = 0, 0

    def lookup(self, key):
        self.asked += 1
        return super().lookup(key)

    def version(self):
        return self.number


@pytest.fixture
def make(asker):
    def recipients(table, aliases=None, myself=None):
        routes = Routes(table if not isinstance(table, dict) else StaticMap("mt", table), DEFAULTS)
        relay = RelayRules((), (), ["ours.org"], routes)
        expander = None
        if aliases is not None:
            expander = Aliases(aliases, localpart=True, local_domains=True, delimiter="+", relay=relay, hostname="GW.example")
        return Recipients(routes, expander, asker.resolver, "GW.example", myself=myself)

    return recipients


def ask(recipients, rcpt, flags=0):
    reply = Heard()
    recipients.resolve(Resolve(ta_id="S0", rcpt_idx=0, rcpt=rcpt, flags=flags), reply)
    return reply.get()


def test_a_static_route_is_answered_at_once(make):
    reply = Heard()
    make({".": "26^[192.0.2.1]"}).resolve(Resolve(ta_id="S0", rcpt_idx=0, rcpt="u@far.org"), reply)
    assert reply.came
    assert (reply.get().da, reply.get().servers[0].port) == (DeliveryAgent.ESMTP, 26)


def test_aliases_come_before_routes_unless_told_otherwise(make):
    one = make({".": "[192.0.2.1]"}, StaticMap("a", {"list": "a@far.org"}))
    assert ask(one, "list@ours.org") == Members(members=("a@far.org",))
    assert isinstance(ask(one, "list@ours.org", ResolveFlags.NO_ALIAS), Route)


def test_the_dns_decides_without_an_entry(make, name_server):
    name_server.add("far.org", "MX", "10 mx.far.org.")
    name_server.add("mx.far.org", "A", "192.0.2.7")
    assert ask(make({}), "u@far.org").servers[0].addr == "192.0.2.7"


def test_postmaster_without_domain_goes_where_this_host_goes(make):
    assert ask(make({"gw.example": "[192.0.2.3]"}), "postmaster").servers[0].addr == "192.0.2.3"


def test_what_is_no_address_is_a_permanent_error(make):
    answer = ask(make({}), "nonsense")
    assert (answer.reply.code, answer.reply.ecode) == (553, "5.1.3")


def test_static_answers_are_kept_until_a_map_changes(make):
    table, aliases = Counting({".": "[192.0.2.1]"}), Counting({"list": "a@far.org"})
    one = make(table, aliases)
    for _ in range(5):
        ask(one, "u@far.org")
        ask(one, "list@ours.org")
    asked = (table.asked, aliases.asked)
    ask(one, "u@far.org")
    ask(one, "list@ours.org")
    assert (table.asked, aliases.asked) == asked
    aliases.number += 1
    ask(one, "list@ours.org")
    assert aliases.asked > asked[1]


def test_errors_are_not_kept(make):
    aliases = Counting({"list": "a@@b"})
    one = make({".": "[192.0.2.1]"}, aliases)
    assert isinstance(ask(one, "list@ours.org"), Unresolved)
    asked = aliases.asked
    assert isinstance(ask(one, "list@ours.org"), Unresolved)
    assert aliases.asked > asked


def test_a_changed_file_counts_after_a_second(make, tmp_path):
    clock = StillClock()
    (tmp_path / "mt").write_text(". [192.0.2.1]\n")
    one = make(TextMap("mt", tmp_path / "mt", clock))
    assert ask(one, "u@far.org").servers[0].addr == "192.0.2.1"
    (tmp_path / "mt").write_text(". [192.0.2.22]\n")
    clock.now_s += 1
    assert ask(one, "u@far.org").servers[0].addr == "192.0.2.22"


def test_maps_that_block_are_asked_each_time(make):
    class Away(StaticMap):
        blocking = True

        def lookup(self, key):
            return temp("away")

    one = make(Away("mt", {}))
    assert one.blocking
    assert ask(one, "u@far.org").reply.code == 451
    assert make({}, Away("a", {})).blocking
    assert ask(make({}, Away("a", {})), "u@ours.org").reply.code == 451


@pytest.mark.parametrize("rcpt", ["u@[192.0.2.99]", "u@[0.0.0.0]", "u@[127.0.0.1]", "u@[IPv6:::ffff:127.0.0.1]"])
def test_a_recipient_at_our_address_would_come_back(make, rcpt):
    one = make({}, myself=Myself((), [("192.0.2.99", 25), ("127.0.0.1", 25)]))
    answer = ask(one, rcpt)
    assert (answer.reply.code, answer.reply.ecode) == (554, "5.4.6")
    assert isinstance(ask(make({}, myself=Myself((), [("192.0.2.99", 587)])), rcpt), Route)


def test_a_mailertable_cannot_lead_back_to_us(make):
    one = make({"a.org": "[192.0.2.1] [192.0.2.99] [192.0.2.2]", ".": "[192.0.2.99]"}, myself=Myself((), [("192.0.2.99", 25)]))
    assert [server.addr for server in ask(one, "u@a.org").servers] == ["192.0.2.1"]
    assert ask(one, "u@b.org").reply.ecode == "5.4.6"


def test_kept_answers_end_with_a_change_of_the_interfaces(make):
    clock, found = StillClock(), [frozenset(("192.0.2.1",))]
    one = make({".": "[192.0.2.99]"}, myself=Myself((), [("", 25)], read=lambda: found[-1], clock=clock))
    assert isinstance(ask(one, "u@a.org"), Route)
    found.append(frozenset(("192.0.2.99",)))
    assert isinstance(ask(one, "u@a.org"), Route)
    clock.now_s += INTERFACES_TTL_S
    assert ask(one, "u@a.org").reply.ecode == "5.4.6"
