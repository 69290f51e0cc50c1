"""Names of clients, over a real name server."""

import pytest

from meta1g.rcb.smtps_smar import ClientResolve
from meta1g.smar.clientname import ClientNames
from meta1g.smar.limits import CLIENT_NAME_S, CLIENT_NAMES_MAX
from tests.fakes.nameserver import SERVFAIL

from .conftest import Heard

PTR = "1.2.0.192.in-addr.arpa"


@pytest.fixture
def names(asker):
    return ClientNames(asker.system.evthr, asker.resolver)


@pytest.fixture
def find(names):
    def run(address="192.0.2.1"):
        reply = Heard()
        names.find(address, reply)
        return reply.get()

    return run


def test_a_name_that_leads_back_is_the_name(find, name_server):
    name_server.add(PTR, "PTR", "Mail.far.example.")
    name_server.add("mail.far.example", "A", "192.0.2.9", "192.0.2.1")
    assert find() == ("mail.far.example", ClientResolve.OK)


def test_ipv6_clients_have_names_too(find, name_server):
    name_server.add("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "PTR", "six.far.example.")
    name_server.add("six.far.example", "AAAA", "2001:db8:0::1")
    assert find("2001:db8::1") == ("six.far.example", ClientResolve.OK)


def test_a_name_that_leads_elsewhere_is_forged(find, name_server):
    name_server.add(PTR, "PTR", "mail.bank.example.")
    name_server.add("mail.bank.example", "A", "203.0.113.1")
    assert find() == ("mail.bank.example", ClientResolve.FORGED)


def test_one_good_name_among_several_counts(find, name_server):
    name_server.add(PTR, "PTR", "a.far.example.", "b.far.example.")
    name_server.add("b.far.example", "A", "192.0.2.1")
    assert find() == ("b.far.example", ClientResolve.OK)


def test_no_name(find):
    assert find() == ("", ClientResolve.NO_NAME)


@pytest.mark.parametrize("value", ["bad\\032name.example.", "a\\010b.example.", "x\\@y.example.", "."])
def test_a_name_that_could_not_stand_in_a_header_is_none(find, name_server, value):
    name_server.add(PTR, "PTR", value)
    assert find() == ("", ClientResolve.NO_NAME)
    assert len(name_server.asked) == 1


def test_a_name_server_that_fails_is_temporary_in_both_steps(find, name_server):
    name_server.script(PTR, "PTR", *[SERVFAIL] * 3)
    assert find() == ("", ClientResolve.TEMP)
    name_server.add(PTR, "PTR", "mail.far.example.")
    name_server.script("mail.far.example", "A", *[SERVFAIL] * 3)
    assert find() == ("", ClientResolve.TEMP)


def test_only_some_names_are_followed(find, name_server):
    name_server.add(PTR, "PTR", *(f"n{number}.far.example." for number in range(20)))
    assert find()[1] is ClientResolve.FORGED
    assert len(name_server.asked) == 1 + CLIENT_NAMES_MAX


def test_a_search_ends_after_its_time(names, asker, name_server):
    name_server.hold()
    first, second = Heard(), Heard()
    names.find("192.0.2.1", first)
    names.find("192.0.2.2", second)
    name_server.wait_for(2)
    asker.clock.ahead_s = CLIENT_NAME_S + 1
    third = Heard()
    names.find("192.0.2.3", third)
    asker.system.evthr.wakeup(names._searches._task)
    assert [first.get(), second.get()] == [("", ClientResolve.TEMP)] * 2
    name_server.wait_for(3)
    name_server.release()
    assert third.get() == ("", ClientResolve.NO_NAME)


def test_something_that_is_no_address_has_no_name(find):
    assert find("nonsense") == ("", ClientResolve.NO_NAME)
