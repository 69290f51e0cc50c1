"""The name of a client: PTR record, then back to the address (forward-confirmed reverse DNS).

Ref: MeTA1 design, "Functional Specification: SMTPS, client resolve" (results modelled on).
"""

from collections.abc import Callable

from meta1g.maps.cidrmap import parse_address
from meta1g.pt.lock import Lock, LockRank
from meta1g.rcb.smtps_smar import ClientResolve
from meta1g.smar.dnswire import DnsAnswer, DnsStatus, RRType, reverse_name
from meta1g.smar.resolver import Resolver

OnName = Callable[[str, ClientResolve], None]
#: PTR records of one address that are followed; more would only let a zone make us work.
NAMES_MAX = 4


class ClientName:
    """One search for a client's name.

    Args:
        resolver: answers questions.
        address: IP address.
        on_name: called once as on_name(name, result); the name is empty unless the result is OK or FORGED.

    Locking: own lock LEAF.
    """

    def __init__(self, resolver: Resolver, address: str, on_name: OnName) -> None:
        self._resolver = resolver
        self._address = address
        self._on_name = on_name
        self._lock = Lock(LockRank.LEAF, "client name")
        self._names: list[str] = []
        self._left = 0
        self._temp = False
        self._done = False

    def start(self) -> None:
        """Asks for the PTR records.  Blocks: no."""
        try:
            name = reverse_name(self._address)
        except Exception:  # noqa: BLE001  dnspython raises several kinds for text that is no address
            self._end("", ClientResolve.NO_NAME)
            return
        self._resolver.ask(name, RRType.PTR, self._on_ptr)

    def give_up(self) -> None:
        """Ends the search: it took too long."""
        self._end("", ClientResolve.TEMP)

    def _on_ptr(self, answer: DnsAnswer) -> None:
        if answer.status is not DnsStatus.OK:
            self._end("", ClientResolve.TEMP if answer.status is DnsStatus.TEMP else ClientResolve.NO_NAME)
            return
        rrtype = RRType.AAAA if ":" in self._address else RRType.A
        self._names = [record.value for record in answer.records[:NAMES_MAX]]
        self._left = len(self._names)
        for name in self._names:
            self._ask(name, rrtype)

    def _ask(self, name: str, rrtype: RRType) -> None:
        self._resolver.ask(name, rrtype, lambda answer: self._on_forward(name, answer))

    def _on_forward(self, name: str, answer: DnsAnswer) -> None:
        here = parse_address(self._address)
        if any(parse_address(record.value) == here for record in answer.records):
            self._end(name, ClientResolve.OK)
        with self._lock:
            self._left -= 1
            self._temp = self._temp or answer.status is DnsStatus.TEMP
            ended = self._left == 0
        if ended and self._temp:
            self._end("", ClientResolve.TEMP)
        elif ended:
            self._end(self._names[0], ClientResolve.FORGED)

    def _end(self, name: str, result: ClientResolve) -> None:
        with self._lock:
            if self._done:
                return
            self._done = True
        self._on_name(name, result)
