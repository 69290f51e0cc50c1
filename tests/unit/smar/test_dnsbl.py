"""DNS lists, over a real name server."""

import pytest

from meta1g.maps.static import StaticMap
from meta1g.rcb.smtps_smar import ClientResolve
from meta1g.smar.access import AccessMap, Action
from meta1g.smar.checks import Policy
from meta1g.smar.client import ClientFacts, Gathering
from meta1g.smar.clientname import ClientNames
from meta1g.smar.dnsbl import DnsLists
from meta1g.smar.listed import DnsList, Listed
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import Routes
from tests.fakes.nameserver import SERVFAIL

from .conftest import Heard

ZONES = ("one.dnsbl", "two.dnsbl")


@pytest.fixture
def make(asker):
    def lists(*zones, timeout_s=20.0):
        return DnsLists(asker.system.evthr, asker.resolver, [DnsList(zone, timeout_s) for zone in zones])

    return lists


def find(lists, address="192.0.2.1"):
    reply = Heard()
    lists.find(address, lambda listed: reply((listed,)))
    return reply.get()[0]


def test_entries_come_in_the_order_of_the_lists(make, name_server):
    name_server.add("1.2.0.192.two.dnsbl", "A", "127.0.0.9")
    name_server.add("1.2.0.192.one.dnsbl", "A", "127.0.0.2")
    assert find(make(*ZONES)) == (Listed(0, "127.0.0.2"), Listed(1, "127.0.0.9"))


def test_one_list_may_give_several_results(make, name_server):
    name_server.add("1.2.0.192.two.dnsbl", "A", "127.0.0.2", "127.0.0.3")
    assert set(find(make(*ZONES))) == {Listed(1, "127.0.0.2"), Listed(1, "127.0.0.3")}


def test_ipv6_clients_are_looked_up_by_nibbles(make, name_server):
    name_server.add("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.one.dnsbl", "A", "127.0.0.2")
    assert find(make("one.dnsbl"), "2001:db8::1") == (Listed(0, "127.0.0.2"),)


def test_a_client_that_is_not_listed_and_no_lists_at_all(make, name_server):
    assert find(make(*ZONES)) == ()
    assert find(make()) == ()


def test_a_list_that_fails_or_is_silent_does_not_list(make, name_server):
    name_server.script("1.2.0.192.one.dnsbl", "A", *[SERVFAIL] * 5)
    name_server.add("1.2.0.192.two.dnsbl", "A", "127.0.0.2")
    assert find(make(*ZONES)) == (Listed(1, "127.0.0.2"),)
    name_server.hold()
    assert find(make("one.dnsbl", timeout_s=0.05), "192.0.2.9") == ()
    name_server.release()


def test_all_lists_and_the_name_are_asked_at_the_same_time(make, asker, name_server):
    name_server.add("1.2.0.192.two.dnsbl", "A", "127.0.0.2")
    name_server.hold()
    facts, done = ClientFacts("S1", "192.0.2.1"), Heard()
    Gathering(facts, lambda: done("done")).start(ClientNames(asker.system.evthr, asker.resolver), make(*ZONES))
    name_server.wait_for(3)
    assert not done.came
    name_server.release()
    done.get()
    assert (facts.listed, facts.resolve) == ((Listed(1, "127.0.0.2"),), ClientResolve.NO_NAME)


def policy(entries):
    routes = Routes(None, None)
    relay = RelayRules(["198.51.100.0/24"], (), (), routes)
    return Policy(routes, relay, AccessMap(StaticMap("a", entries), "+"))


def client(entries, *listed, address="192.0.2.1"):
    return policy(entries).client(address, "", ClientResolve.NO_NAME, listed)


def test_results_are_looked_up_in_the_access_map():
    entries = {"dnsbl0:127.0.0.2": "error:554 5.7.1 listed by one", "dnsbl1:127.0.0": "reject", "dnsbl1:127.0.0.9": "ok"}
    assert client(entries, Listed(0, "127.0.0.2")).reply.text == "listed by one"
    assert client(entries, Listed(0, "127.0.0.3")).reply.code == 220
    assert client(entries, Listed(1, "127.0.0.3")).reply.code == 550
    assert client(entries, Listed(1, "127.0.0.9"), Listed(0, "127.0.0.2")).reply.code == 220


def test_cont_goes_on_with_the_next_entry():
    entries = {"dnsbl0:127": "cont", "dnsbl1:127": "reject"}
    assert client(entries, Listed(0, "127.0.0.2"), Listed(1, "127.0.0.2")).reply.code == 550
    assert policy(entries).access.listed([Listed(0, "127.0.0.2")]).action is Action.CONT


@pytest.mark.parametrize("value", ["quick:ok", "relay", "quick:cont"])
def test_an_earlier_answer_that_ends_the_checks_is_kept(value):
    entries = {"cltaddr:192.0.2.1": value, "dnsbl0:127": "reject"}
    assert client(entries, Listed(0, "127.0.0.2")).reply.code == 220


def test_ok_for_the_address_alone_does_not_pass_the_lists():
    assert client({"cltaddr:192.0.2.1": "ok", "dnsbl0:127": "reject"}, Listed(0, "127.0.0.2")).reply.code == 550


def test_our_own_network_is_never_refused_by_a_list():
    assert client({"dnsbl0:127": "reject"}, Listed(0, "127.0.0.2"), address="198.51.100.7").reply.code == 220
