"""DNS lists: is a client listed, and with which result addresses?

All lists are asked at the same time.  A list that does not answer in time does not list the client: a list that is away
must not stop all mail.

Ref: RFC 5782; MeTA1 README, "DNS Lists" (look-up of results in the access map as `dnsblN:ADDRESS` modelled on).
"""

from collections.abc import Callable, Sequence

from meta1g.base import failure
from meta1g.base.log import Log
from meta1g.pt.evthr import Evthr
from meta1g.pt.lock import Lock, LockRank
from meta1g.smar.deadlines import Deadlines
from meta1g.smar.dnswire import DnsAnswer, RRType, reverse_name
from meta1g.smar.limits import LISTED_MAX
from meta1g.smar.listed import DnsList, Listed
from meta1g.smar.resolver import Resolver

OnListed = Callable[[tuple[Listed, ...]], None]


class _Search:
    """The questions about one client.  Locking: own lock LEAF."""

    def __init__(self, count: int, on_listed: OnListed) -> None:
        self._lock = Lock(LockRank.LEAF, "dnsbl")
        self._found: list[tuple[Listed, ...] | None] = [None] * count
        self._left = count
        self._on_listed = on_listed

    def answered(self, number: int) -> bool:
        """Tells whether a list has said something, or its time is over."""
        return self._found[number] is not None

    def take(self, number: int, found: tuple[Listed, ...]) -> None:
        """Takes what a list says, the first time; the last list brings the result."""
        with self._lock:
            if self._found[number] is not None:
                return
            self._found[number] = found
            self._left -= 1
            if self._left:
                return
        self._on_listed(tuple(one for found in self._found for one in found or ()))


class DnsLists:
    """All lists of the configuration.

    Args:
        evthr: the system it runs in.
        resolver: answers questions.
        lists: the lists, in the order of the configuration.
        log: failures are logged here.

    Locking: none needed.
    """

    def __init__(self, evthr: Evthr, resolver: Resolver, lists: Sequence[DnsList], log: Log | None = None) -> None:
        self._resolver = resolver
        self._lists = tuple(lists)
        self._log = Log("smar") if log is None else log
        self._deadlines = tuple(self._deadline(evthr, number, one) for number, one in enumerate(self._lists))

    def _deadline(self, evthr: Evthr, number: int, one: DnsList) -> Deadlines[_Search]:
        return Deadlines(
            evthr,
            one.timeout_s,
            lambda search: search.take(number, ()),
            log=self._log,
            is_over=lambda search: search.answered(number),
            name="dnsbl",
        )

    def zone(self, number: int) -> str:
        """Gives the zone of a list by its number in the configuration."""
        return self._lists[number].zone

    def find(self, address: str, on_listed: OnListed) -> None:
        """Asks all lists about a client.

        Args:
            address: IP address.
            on_listed: called once with the entries, in the order of the lists, at once or in a worker.
        """
        if not self._lists:
            on_listed(())
            return
        search = _Search(len(self._lists), on_listed)
        for number, deadlines in enumerate(self._deadlines):
            with failure.item(self._log, "smar.dnsbl", lambda _, number=number: search.take(number, ()), client=address):  # type: ignore[misc]
                self._ask(search, number, reverse_name(address, self._lists[number].zone))
                if not search.answered(number):
                    deadlines.add(search)

    def _ask(self, search: _Search, number: int, name: str) -> None:
        def on_answer(answer: DnsAnswer) -> None:
            search.take(number, tuple(Listed(number, record.value) for record in answer.records[:LISTED_MAX]))

        self._resolver.ask(name, RRType.A, on_answer)
