"""Whose word about other clients counts: proxies before us, and filters behind us that hand mail back.

Pure.  Ref: HAProxy, doc/proxy-protocol.txt 2 ("only trusted proxies"); Postfix, XCLIENT_README, "Security".
"""

import ipaddress
from collections.abc import Iterable
from enum import IntFlag

from meta1g.base.dataclass import dataclass


class Trust(IntFlag):
    """What a client may say about others."""

    PROXY = 1
    XCLIENT = 2
    XFORWARD = 4


@dataclass(frozen=True, slots=True)
class Trusted:
    """Addresses and networks by what they are trusted with.  False if there are none.

    Args:
        rows: network with what it is trusted with.
    """

    rows: tuple[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, Trust], ...]

    def __bool__(self) -> bool:
        """Tells whether anybody is trusted."""
        return bool(self.rows)

    def of(self, addr: str) -> Trust:
        """Gives what an address in text form is trusted with."""
        address = ipaddress.ip_address(addr)
        found = Trust(0)
        for network, trust in self.rows:
            if address in network:
                found |= trust
        return found


def trusted(proxies: Iterable[str], xclients: Iterable[str], xforwards: Iterable[str]) -> Trusted:
    """Makes the table of the lists of the configuration."""
    lists = ((proxies, Trust.PROXY), (xclients, Trust.XCLIENT), (xforwards, Trust.XFORWARD))
    return Trusted(tuple((ipaddress.ip_network(text), trust) for texts, trust in lists for text in texts))
