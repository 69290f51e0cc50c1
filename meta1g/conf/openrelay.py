"""Networks that nobody has for his own: who lets them send anywhere has an open relay.

Pure.  Ref: RFC 5321 7.8; our choice: such a network is refused, and no word lets it pass.
"""

import contextlib
import ipaddress
from collections.abc import Iterable
from typing import Any, Final

#: Shortest prefix of a network that may be somebody's own, and of several side by side, by IP version.  Our choice: 10.0.0.0/8,
#: fc00::/7, and not a sixteenth of IPv4.
LEAST_PREFIX: Final = {4: 8, 6: 7}
LEAST_JOINED_PREFIX: Final = {4: 5, 6: 4}
#: IPv4 addresses inside of IPv6 (RFC 4291 2.5.5.2).
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")


def too_wide(networks: Iterable[str]) -> str:
    """Says why networks must not send mail anywhere through this machine; nothing if they may.

    Networks that together make a larger one count as that.

    Args:
        networks: addresses and networks; what is none is passed over.
    """
    found: dict[int, list[Any]] = {4: [], 6: []}
    for text in networks:
        with contextlib.suppress(ValueError):
            network = ipaddress.ip_network(text)
            found[network.version].append(network)
    alone = [one for same in found.values() for one in same if one.prefixlen < LEAST_PREFIX[one.version]]
    joined = [one for same in found.values() for one in ipaddress.collapse_addresses(same)]
    for network in (*alone, *joined):
        if network.prefixlen < LEAST_JOINED_PREFIX[network.version] or network in alone:
            return f"{network} would let everybody send anywhere (open relay); name your own networks"
    mapped = next((one for one in found[6] if one.subnet_of(_MAPPED)), None)
    return f"{mapped} is never asked for, since these clients count as IPv4; write the IPv4 network" if mapped else ""
