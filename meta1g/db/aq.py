"""AQ, the active queue: transactions and recipients that are being delivered.

Invariants: never more recipients than the limit (I4); no destination takes more than its share (I11); a transaction is in AQ
if and only if one of its recipients is.

Each recipient uses a place of the share of its destination.  Before it is resolved that is the destination where its domain
went the last time, or the domain itself.  All whose destination is not known have a common share, too: name servers that do
not answer hold up new domains only.

Locking: caller holds AQ.
Ref: MeTA1 design, "Implementation: AQ" (modelled on).
"""

from collections import Counter, OrderedDict
from collections.abc import Container, Iterable, Sequence
from typing import Final

from meta1g.base import shares
from meta1g.base.errors import BugError, FullError, Module
from meta1g.base.ids import TaId
from meta1g.base.mailbox import domain_of
from meta1g.base.shares import Pool
from meta1g.db.aq_types import AqRcpt, AqTa, DestKey, Home, Place
from meta1g.rcb.envelope import RcptRecord, TaRecord

#: A destination may hold so many times the places that are free: two thirds of AQ if it is alone.  Ref: invariant I11.
GREED: Final = 2
#: The same for all recipients together whose destination is not known; more, so that one domain leaves them room.
UNROUTED_GREED: Final = 6
#: Domains whose destination is remembered.  Our choice: some 200 bytes each.
_ROUTES_MAX: Final = 50_000
#: A destination with less than this part of AQ is never told to leave it.
_OVER_PART: Final = 16


class Aq:
    """The active queue.

    Args:
        limit: greatest number of recipients, 1 or more.

    Attributes:
        places: who holds how many of them.

    Locking: caller holds AQ.
    """

    __slots__ = ("_routes", "_tas", "_unrouted", "limit", "places")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.places = Pool(limit, greed=GREED)
        self._tas: dict[str, AqTa] = {}
        self._routes: OrderedDict[str, DestKey] = OrderedDict()
        self._unrouted = 0  # recipients that use the share of a domain

    def __len__(self) -> int:
        """Gives the number of recipients."""
        return self.places.used

    @property
    def transactions(self) -> int:
        """The number of transactions."""
        return len(self._tas)

    def set_limit(self, limit: int) -> None:
        """Changes the greatest number of recipients (1 or more); those that are here stay."""
        self.limit = self.places.limit = self.places.cap = limit

    def room(self) -> int:
        """Gives how many recipients still fit, whatever their destinations."""
        return self.places.free

    def usage_percent(self) -> int:
        """Gives how full it is, 0 to 100."""
        return min(100, self.places.used * 100 // self.limit)

    # -- shares --------------------------------------------------------------------------------------------------------

    def place_of(self, address: str) -> Place:
        """Gives whose share a recipient uses that is not resolved yet."""
        domain = domain_of(address)
        return self._routes.get(domain, domain)

    def fits(self, records: Sequence[RcptRecord], halved: Container[Place] = ()) -> bool:
        """Tells whether all of these recipients may enter now.

        Args:
            records: the recipients, all of them new here.
            halved: destinations that have older mail waiting; they may use half of their share.
        """
        if len(records) == 1:  # as nearly all mail
            place = self.place_of(records[0].rcpt)
            return self.room_for(place) > 0 and (place not in halved or self.places.fits({place: 1}, halved))
        counts: dict[Place, int] = {}
        for record in records:
            place = self.place_of(record.rcpt)
            counts[place] = counts.get(place, 0) + 1
        unrouted = sum(count for place, count in counts.items() if isinstance(place, str))
        if unrouted > 1 or (unrouted and self._unrouted):
            left = self.places.free - len(records)
            if self._unrouted + unrouted > UNROUTED_GREED * left:
                return False
        return self.places.fits(counts, halved)

    def room_for(self, place: Place, reserve: int = 0) -> int:
        """Gives how many more recipients of one destination, or of a domain, may enter now.

        Args:
            place: whose share they use.
            reserve: free places that are not for them.
        """
        left = self.places.room(place, reserve)
        if isinstance(place, str):
            return min(left, shares.room(self._unrouted, self.places.free - reserve, UNROUTED_GREED))
        return left

    def routed(self, rcpt: AqRcpt) -> bool:
        """Counts a recipient for the destination that it waits for now; its domain is expected to go there again.

        Returns:
            Whether that destination is new for it and holds much more than its share.
        """
        dest = rcpt.dest
        if rcpt.place == dest:
            return False
        domain = domain_of(rcpt.record.rcpt)
        if self._routes.get(domain) != dest:
            self._routes[domain] = dest
            self._routes.move_to_end(domain)
            if len(self._routes) > _ROUTES_MAX:
                self._routes.popitem(last=False)
        self._unrouted -= isinstance(rcpt.place, str)
        self.places.move(rcpt.place, dest)
        rcpt.place = dest
        return self.places.held(dest) * _OVER_PART > self.limit and self.places.over(dest)

    def forget_routes(self) -> None:
        """Forgets where domains went: that may have changed."""
        self._routes.clear()

    def get(self, ta_id: str) -> AqTa | None:
        """Gives a transaction, or None."""
        return self._tas.get(ta_id)

    def has(self, ta_id: str, rcpt_idx: int) -> bool:
        """Tells whether a recipient is here."""
        ta = self._tas.get(ta_id)
        return ta is not None and rcpt_idx in ta.rcpts

    def tas(self) -> list[AqTa]:
        """Gives all transactions, oldest entry first."""
        return list(self._tas.values())

    def add_ta(self, record: TaRecord, rcpts: Iterable[RcptRecord], home: Home, halved: Container[Place] = ()) -> list[AqRcpt]:
        """Enters recipients of a transaction, which is entered too if it is not here.

        Args:
            record: the transaction.
            rcpts: its recipients; one that is here already stays as it is.
            home: the store that holds their records.
            halved: as for fits().

        Returns:
            The recipients that are new here.

        Raises:
            FullError: they do not all fit; nothing is entered.
        """
        records = [record_ for record_ in rcpts if not self.has(record.ta_id, record_.rcpt_idx)]
        if not self.fits(records, halved):
            raise FullError(Module.AQ, f"no room in the active queue: {self.limit} recipients; raise AQ_max_entries")
        ta = self._tas.get(record.ta_id)
        if ta is None:
            ta = AqTa(record, in_ibdb=home is Home.IBDB, in_defedb=home is Home.DEFEDB)
            self._tas[record.ta_id] = ta
        return [self.add_rcpt(ta, one, home) for one in records]

    def add_rcpt(self, ta: AqTa, record: RcptRecord, home: Home) -> AqRcpt:
        """Enters one more recipient of a transaction that is here; fits() was asked before.

        Raises:
            BugError: it is here already.
        """
        if record.rcpt_idx in ta.rcpts:
            raise BugError(Module.AQ, f"{ta.ta_id}: recipient {record.rcpt_idx} is entered twice")
        rcpt = AqRcpt(ta, record, home)
        ta.rcpts[record.rcpt_idx] = rcpt
        ta.next_idx = max(ta.next_idx, record.rcpt_idx + 1)
        ta.unsettled += 1
        ta.unresolved += 1
        rcpt.place = self.place_of(record.rcpt)
        self.places.hold(rcpt.place)
        self._unrouted += isinstance(rcpt.place, str)
        return rcpt

    def remove(self, rcpt: AqRcpt) -> bool:
        """Takes a recipient out; tells whether its transaction left with it."""
        ta = rcpt.ta
        if ta.rcpts.pop(rcpt.record.rcpt_idx, None) is None:
            raise BugError(Module.AQ, f"{ta.ta_id}: recipient {rcpt.record.rcpt_idx} is not in AQ")
        self.places.give(rcpt.place)
        self._unrouted -= isinstance(rcpt.place, str)
        if ta.rcpts:
            return False
        del self._tas[TaId(ta.record.ta_id)]
        return True

    def check(self) -> None:
        """Checks the invariants.

        Raises:
            BugError: one is broken.
        """
        held = Counter(rcpt.place for ta in self._tas.values() for rcpt in ta.rcpts.values())
        count = sum(held.values())
        if count != len(self) or any(not ta.rcpts for ta in self._tas.values()):
            raise BugError(Module.AQ, f"counter {len(self)}, recipients {count}")
        if len(held) != self.places.keys or any(self.places.held(place) != number for place, number in held.items()):
            raise BugError(Module.AQ, "places are counted wrongly")
        if self._unrouted != sum(number for place, number in held.items() if isinstance(place, str)):
            raise BugError(Module.AQ, "recipients without a destination are counted wrongly")
