"""Local users: who has a mailbox here, and who may write to protected recipients.

Ref: MeTA1 README, "Specifying Valid Local Addresses", "Protecting Recipients" (modelled on).
"""

from itertools import chain

from meta1g.base.dataclass import dataclass
from meta1g.maps.base import Map, MapStatus
from meta1g.maps.cidrmap import NetworkTable, parse_address
from meta1g.maps.lookup import address_keys, domain_keys, search, user_keys
from meta1g.smtp.address import Address


@dataclass(frozen=True, slots=True)
class LocalUsers:
    """The local user map.

    Args:
        table: the map.
        localpart: the local part alone is a key too.
        local_domains: asked for addresses in local domains only.
        delimiter: separates user and detail.
    """

    table: Map
    localpart: bool
    local_domains: bool
    delimiter: str

    def find(self, address: Address) -> MapStatus:
        """Tells whether there is such a user.  Blocks: if the map does."""
        local, domain = address.local.lower(), address.domain.lower()
        _, result = search(self.table, address_keys(local, domain, self.delimiter))
        if self.localpart and not result.ends_search:
            _, result = search(self.table, user_keys(local, self.delimiter))
        return result.status


def may_write(allowed: str, sender: Address, client: str) -> bool:
    """Tells whether a `protectedrcpt:` list lets a sender or a client through.

    Args:
        allowed: addresses, domains, `.domain`, IP addresses and networks, separated by blanks or commas.
        sender: envelope sender.
        client: IP address of the client.
    """
    words = dict.fromkeys(allowed.lower().replace(",", " ").split())
    local, domain = sender.local.lower(), sender.domain.lower()
    keys = chain(address_keys(local, domain, ""), domain_keys(domain)) if domain else (sender.key,)
    if any(key in words for key in keys):
        return True
    table = NetworkTable()
    for word in words:
        if word[0].isdigit() or ":" in word:
            try:
                table.add(word, "yes")
            except ValueError:
                continue
    try:
        return table.find(parse_address(client)) is not None
    except ValueError:
        return False
