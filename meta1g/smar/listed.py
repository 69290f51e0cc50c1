"""DNS lists as the configuration names them, and what was found in them; who asks them is dnsbl.py.

Pure.  Ref: RFC 5782.
"""

from meta1g.base.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class DnsList:
    """A list.

    Args:
        zone: its zone.
        timeout_s: how long it may take.
    """

    zone: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a client: number of the list in the configuration, and a result address."""

    number: int
    address: str
