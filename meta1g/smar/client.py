"""What is known about a client: its name and its entries in DNS lists, found at the same time.

Ref: MeTA1 design, "Functional Specification: SMAR" (a request with open questions, modelled on).
"""

from collections.abc import Callable

from meta1g.base.dataclass import dataclass
from meta1g.pt.lock import Lock, LockRank
from meta1g.rcb.smtps_smar import ClientResolve, LookupFlags
from meta1g.smar.clientname import ClientNames
from meta1g.smar.dnsbl import DnsLists
from meta1g.smar.listed import Listed


@dataclass(slots=True)
class ClientFacts:
    """A client.

    Args:
        session_id: session of SMTPS, for logs.
        address: IP address, or what it has instead.
        name: its name, empty if there is none.
        resolve: how the name was found.
        listed: its entries in DNS lists.
        flags: LookupFlags of the question.

    Locking: lock of its Gathering, until all is found.
    """

    session_id: str
    address: str
    name: str = ""
    resolve: ClientResolve = ClientResolve.NO_NAME
    listed: tuple[Listed, ...] = ()
    flags: int = 0


class Gathering:
    """Waits for the name and the entries of one client.

    Args:
        facts: filled here.
        on_done: called once when all is found, at once or in a worker.

    Locking: own lock LEAF.
    """

    def __init__(self, facts: ClientFacts, on_done: Callable[[], None]) -> None:
        self._facts = facts
        self._on_done = on_done
        self._lock = Lock(LockRank.LEAF, "client")
        self._left = 2

    def start(self, names: ClientNames, lists: DnsLists) -> None:
        """Asks; DNS lists only if the access map counts, which says what they mean."""
        names.find(self._facts.address, self._on_name)
        if self._facts.flags & LookupFlags.NO_ACCESS:
            self._one_done()
        else:
            lists.find(self._facts.address, self._on_listed)

    def _on_name(self, name: str, resolve: ClientResolve) -> None:
        self._facts.name, self._facts.resolve = name, resolve
        self._one_done()

    def _on_listed(self, listed: tuple[Listed, ...]) -> None:
        self._facts.listed = listed
        self._one_done()

    def _one_done(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._on_done()
