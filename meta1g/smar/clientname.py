"""The name of a client: PTR record, then back to the address (forward-confirmed reverse DNS).

Ref: MeTA1 design, "Functional Specification: SMTPS, client resolve" (results modelled on).
"""

from collections.abc import Callable

from meta1g.base.log import Log
from meta1g.maps.cidrmap import parse_address
from meta1g.pt.evthr import Evthr
from meta1g.pt.lock import Lock, LockRank
from meta1g.rcb.smtps_smar import ClientResolve
from meta1g.smar.deadlines import Deadlines
from meta1g.smar.dnswire import DnsAnswer, DnsStatus, RRType, reverse_name
from meta1g.smar.limits import CLIENT_NAME_S, CLIENT_NAMES_MAX
from meta1g.smar.resolver import Resolver
from meta1g.smtp.address import is_host

OnName = Callable[[str, ClientResolve], None]


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
        """Asks for the PTR records."""
        try:
            name = reverse_name(self._address)
        except ValueError:  # text that is no address
            self._end("", ClientResolve.NO_NAME)
            return
        self._resolver.ask(name, RRType.PTR, self._on_ptr)

    @property
    def done(self) -> bool:
        """Whether the search has ended."""
        return self._done

    def give_up(self) -> None:
        """Ends the search: it took too long."""
        self._end("", ClientResolve.TEMP)

    def _on_ptr(self, answer: DnsAnswer) -> None:
        if answer.status is not DnsStatus.OK:
            self._end("", ClientResolve.TEMP if answer.status is DnsStatus.TEMP else ClientResolve.NO_NAME)
            return
        rrtype = RRType.AAAA if ":" in self._address else RRType.A
        names = [record.value for record in answer.records if is_host(record.value) and record.value[0] != "["]
        self._names = names[:CLIENT_NAMES_MAX]
        self._left = len(self._names)
        if not self._names:  # a name that is none must not get into logs and headers
            self._end("", ClientResolve.NO_NAME)
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


class ClientNames:
    """All searches of a process; each ends within CLIENT_NAME_S.

    Args:
        evthr: the system it runs in.
        resolver: answers questions.
        log: failures are logged here.

    Locking: none needed.
    """

    def __init__(self, evthr: Evthr, resolver: Resolver, log: Log | None = None) -> None:
        self._resolver = resolver
        self._searches = Deadlines[ClientName](
            evthr, CLIENT_NAME_S, ClientName.give_up, log=log, is_over=lambda search: search.done, name="client names"
        )

    def find(self, address: str, on_name: OnName) -> None:
        """Searches the name of a client.

        Args:
            address: IP address.
            on_name: called once as on_name(name, result), at once or in a worker; the name is empty unless the result
                is OK or FORGED.
        """
        search = ClientName(self._resolver, address, on_name)
        search.start()
        if not search.done:
            self._searches.add(search)
