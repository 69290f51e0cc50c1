"""Which servers are this gateway itself."""

import pytest

from meta1g.base.log import Log
from meta1g.smar.limits import INTERFACES_TTL_S
from meta1g.smar.myself import Myself, canonical
from tests.fakes.lines import Lines
from tests.unit.maps.conftest import StillClock

INTERFACES = frozenset(("127.0.0.1", "::1", "192.0.2.99", "2001:db8::99", "fe80::1"))


def myself(*listeners, proxies=(), remote_port=25, **more):
    return Myself(("gw.example",), listeners, proxies, remote_port, read=lambda: INTERFACES, **more)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::FFFF:7f00:1"])
def test_what_leads_to_a_listening_address_is_us_in_whatever_form(address):
    one = myself(("127.0.0.1", 25))
    assert one.is_me(address, 25)
    assert not one.is_me(address, 2525)


@pytest.mark.parametrize("address", ["127.0.0.2", "192.0.2.99", "::1", "192.0.2.1", "unix:/lmtp"])
def test_other_addresses_of_this_machine_are_others(address):
    assert not myself(("127.0.0.1", 25)).is_me(address, 25)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.9.9.9", "192.0.2.99", "0.0.0.0", "::1", "::", "2001:DB8::99", "fe80::1%eth0"]
)
def test_a_socket_for_all_addresses_is_reached_by_all_interfaces(address):
    assert myself(("", 25)).is_me(address, 25)


def test_a_socket_for_all_addresses_of_a_family_is_not_reached_by_the_other():
    assert myself(("0.0.0.0", 25)).is_me("192.0.2.99", 25)
    assert not myself(("0.0.0.0", 25)).is_me("::1", 25)
    assert myself(("::", 25)).is_me("2001:db8::99", 25)
    assert not myself(("::", 25)).is_me("127.0.0.1", 25)


@pytest.mark.parametrize("path", ["/q/smtps/lmtp", "/q/x/../smtps//lmtp", "/q/./smtps/lmtp"])
def test_a_local_socket_that_we_listen_on_is_us(path):
    one = myself(("unix:/q/smtps/lmtp", 0), ("127.0.0.1", 25))
    assert one.is_me(f"unix:{path}", 0)
    assert not one.is_me("unix:/q/lmtpsock", 0)
    assert not myself(("127.0.0.1", 25)).is_me(f"unix:{path}", 0)


def test_addresses_of_other_machines_are_others():
    one = myself(("", 25), ("", 587))
    assert not one.is_me("192.0.2.1", 25)
    assert one.is_me("192.0.2.99", 587)
    assert not one.is_me("192.0.2.99", 26)


def test_a_translated_address_is_us_at_our_ports_and_at_that_of_smtp_servers():
    one = myself(("10.0.0.1", 2525), proxies=["203.0.113.5", "::ffff:203.0.113.6"])
    assert [one.is_me("203.0.113.5", port) for port in (25, 2525, 26)] == [True, True, False]
    assert one.is_me("203.0.113.6", 25)
    assert not one.is_me("10.0.0.1", 25)


def test_a_port_that_the_system_chooses_is_not_known():
    assert not myself(("", 0)).is_me("127.0.0.1", 0)


def test_nothing_is_us_without_a_server():
    assert not Myself().is_me("127.0.0.1", 25)
    assert Myself().version() == 0


def test_a_new_address_of_an_interface_is_us_after_a_while():
    clock, found = StillClock(), [INTERFACES]
    one = Myself((), [("", 25)], read=lambda: found[-1], clock=clock)
    assert not one.is_me("192.0.2.100", 25)
    version = one.version()
    found.append(INTERFACES | {"192.0.2.100"})
    clock.now_s += INTERFACES_TTL_S - 1
    assert not one.is_me("192.0.2.100", 25)
    clock.now_s += 1
    assert one.is_me("192.0.2.100", 25)
    assert one.version() > version
    clock.now_s += INTERFACES_TTL_S
    assert one.version() == version + 1


def test_if_the_kernel_does_not_tell_what_was_known_counts():
    sink = Lines()
    clock, log = StillClock(), Log("t", sink=sink)
    answers = [INTERFACES]

    def read():
        if not answers:
            raise OSError(1, "no")
        return answers.pop()

    one = Myself((), [("", 25)], read=read, clock=clock, log=log)
    assert one.is_me("192.0.2.99", 25)
    clock.now_s += INTERFACES_TTL_S
    assert one.is_me("192.0.2.99", 25)
    assert Myself((), [("", 25)], read=read, clock=clock, log=log).is_me("127.0.0.1", 25)
    assert any("sevr=WARN, func=smar.interfaces, " in line for line in sink.lines)


def test_the_interfaces_of_this_machine_are_read():
    assert Myself((), [("", 25)]).is_me("127.0.0.1", 25)


@pytest.mark.parametrize(
    ("address", "made"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::", "::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("unix:/a:b", "unix:/a:b"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
    ],
)
def test_addresses_have_one_form(address, made):
    assert canonical(address) == made
