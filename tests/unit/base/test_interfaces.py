"""The kernel's list of addresses, compared with what ip(8) or the kernel's tables say."""

import ipaddress
import itertools
from pathlib import Path

from meta1g.base.interfaces import own_addresses


def test_all_addresses_can_be_bound_and_the_loopback_is_among_them():
    found = own_addresses()
    assert "127.0.0.1" in found
    assert all(str(ipaddress.ip_address(one)) == one for one in found)


def test_the_ipv4_addresses_are_those_of_the_routing_table():
    lines = Path("/proc/net/fib_trie").read_text().splitlines()
    local = {above.split()[-1] for above, line in itertools.pairwise(lines) if "/32 host LOCAL" in line}
    assert {one for one in own_addresses() if "." in one} == local


def test_the_ipv6_addresses_are_those_of_the_kernels_table():
    path = Path("/proc/net/if_inet6")
    rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    assert {one for one in own_addresses() if ":" in one} == {str(ipaddress.IPv6Address(int(row[0], 16))) for row in rows}
