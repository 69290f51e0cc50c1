"""One copy for one recipient: whom a transaction names twice, by RCPT, by an alias, or by both.

    RCPTs of one message    joined before they are stored; each was answered with 250
    always_bcc              one more, unless the transaction names it
    members of aliases      left out if the transaction has them already: in AQ, in DEFEDB, or as members of another alias

Two addresses are the same if they are of one mailbox (meta1g/base/mailbox.py).  What is known of a transaction is kept while
its aliases are being expanded, no longer: who got his copy before that gets another one.  Members keep the report parameters of
the alias that named them first; of RCPTs that are joined, the sender hears of everything that one of them asked for.

Locking: caller holds AQ.
Ref: RFC 5321 3.9 (aliases), RFC 3461 4.1, 5.2 (NOTIFY); invariants I4, I10.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from meta1g.base.errors import FullError
from meta1g.base.mailbox import mailbox_of
from meta1g.db.aq_types import AqTa
from meta1g.db.defedb import DefeDb
from meta1g.pt.lock import Lock
from meta1g.qmgr.defer import Defer, ReadSteps
from meta1g.qmgr.limits import COPIES_MAX, SLICE
from meta1g.qmgr.retry import is_report
from meta1g.rcb.envelope import RcptRecord

#: Without NOTIFY a sender hears of these; RFC 3461 4.1 leaves DELAY to us.
_DEFAULT: Final = frozenset(("FAILURE", "DELAY"))
_ORDER: Final = ("SUCCESS", "FAILURE", "DELAY")


def joined(rcpts: Sequence[RcptRecord]) -> list[RcptRecord]:
    """Gives the recipients of a message, each mailbox once, as it was named first."""
    if len(rcpts) == 1:
        return list(rcpts)
    found: dict[str, RcptRecord] = {}
    for rcpt in rcpts:
        key = mailbox_of(rcpt.rcpt)
        first = found.get(key)
        found[key] = rcpt if first is None else _join(first, rcpt)
    return list(found.values())


def _join(first: RcptRecord, second: RcptRecord) -> RcptRecord:
    notify, orcpt = wider(first.notify, second.notify), first.orcpt or second.orcpt
    if (notify, orcpt) == (first.notify, first.orcpt):
        return first
    return replace(first, notify=notify, orcpt=orcpt)


def wider(first: str | None, second: str | None) -> str | None:
    """Gives the NOTIFY that asks for all that one of two asks for; None is none, which asks for failures and delays."""
    if first == second:
        return first
    wanted = _wanted(first) | _wanted(second)
    if wanted == _DEFAULT and None in (first, second):
        return None
    return ",".join(word for word in _ORDER if word in wanted) or "NEVER"


def _wanted(notify: str | None) -> frozenset[str]:
    return _DEFAULT if notify is None else frozenset(notify.upper().split(",")) - {"NEVER"}


def with_copy(rcpts: list[RcptRecord], address: str) -> list[RcptRecord]:
    """Gives the recipients of a message and one more, unless it is there already, of whose copy nobody hears.

    Args:
        rcpts: at least one.
        address: who gets the copy.
    """
    key = mailbox_of(address)
    if any(mailbox_of(one.rcpt) == key for one in rcpts):
        return rcpts
    rcpt_idx = max(one.rcpt_idx for one in rcpts) + 1
    copy = RcptRecord(ta_id=rcpts[0].ta_id, rcpt_idx=rcpt_idx, rcpt=address, notify="NEVER", entered=rcpts[0].entered)
    return [*rcpts, copy]


class _Known:
    """Who gets a copy in a transaction.

    Attributes:
        holders: index of the recipient that gets the copy, or that stands for it, by key.
        waiting: who is called when the table is complete; None if it is.

    Owner: the DEFEDB thread while it is not complete, then locking: caller holds AQ.
    """

    __slots__ = ("holders", "waiting")

    def __init__(self) -> None:
        self.holders: dict[str, int] = {}
        self.waiting: list[Callable[[], object]] | None = None


class Copies:
    """Who gets a copy, for the transactions whose aliases are being expanded.

    Args:
        lock: the lock AQ.
        defer: asks DEFEDB.

    Locking: caller holds AQ.
    """

    def __init__(self, lock: Lock, defer: Defer) -> None:
        self._lock = lock
        self._defer = defer
        self._known: OrderedDict[AqTa, _Known] = OrderedDict()  # the oldest first
        self._held = 0

    def __len__(self) -> int:
        """Gives how many copies are known, over all transactions."""
        return self._held

    def when_known(self, ta: AqTa, then: Callable[[], object]) -> bool:
        """Sees to it that it is known who gets a copy, before members are added.

        Args:
            ta: the transaction; one of its aliases is about to be expanded.
            then: called once DEFEDB has said whom it has, in its thread, with AQ held.

        Returns:
            Whether that is known now; then `then` is not called.
        """
        known = self._known.get(ta)
        if known is None:
            known = self._known[ta] = _Known()
            for rcpt in ta.rcpts.values():
                _note(known, rcpt.record)
            self._held += len(known.holders)
            if ta.in_defedb:
                self._read(ta, known)
        if known.waiting is None:
            return True
        known.waiting.append(then)
        return False

    def take(self, ta: AqTa, alias_idx: int, member: str) -> bool:
        """Takes the copy of a member for the next recipient of a transaction.

        Args:
            ta: the transaction.
            alias_idx: the alias that names it: what stood for the alias itself stands for its member of the same name.
            member: its address.

        Returns:
            False if somebody else gets it: there must not be a second one.
        """
        known = self._known.get(ta)
        if known is None:  # forgotten for want of room
            return True
        key = mailbox_of(member)
        holder = known.holders.get(key)
        if holder is not None and holder != alias_idx:
            return False
        if holder is not None or self._room(ta):
            self._held += holder is None
            known.holders[key] = ta.next_idx
        return True

    def _room(self, ta: AqTa) -> bool:
        """Makes room for one more by forgetting the oldest transaction; tells whether there is room."""
        if self._held >= COPIES_MAX:
            oldest = next(iter(self._known))
            if oldest is not ta and self._known[oldest].waiting is None:
                self.forget(oldest)
        return self._held < COPIES_MAX

    def forget(self, ta: AqTa) -> None:
        """Drops what is known of a transaction: no recipient of it in AQ is an alias any more."""
        known = self._known.pop(ta, None)
        if known is not None:
            self._held -= len(known.holders)

    # -- DEFEDB --------------------------------------------------------------------------------------------------------

    def _read(self, ta: AqTa, known: _Known) -> None:
        """Asks DEFEDB whom it has; if it cannot be asked, two copies are better than none."""

        def work(db: DefeDb) -> ReadSteps[None]:
            last = -1
            while found := db.get_rcpts(ta.ta_id, last, SLICE):
                for rcpt in found:
                    _note(known, rcpt)
                last = found[-1].rcpt_idx
                yield None

        before = len(known.holders)

        def was_read(result: object) -> None:
            self._was_read(ta, known, before)

        known.waiting = []
        try:
            self._defer.scan(work, was_read, was_read)
        except FullError:
            known.waiting = None

    def _was_read(self, ta: AqTa, known: _Known, before: int) -> None:
        with self._lock:
            if self._known.get(ta) is known:
                self._held += len(known.holders) - before
            waiting, known.waiting = known.waiting or [], None
            for then in waiting:
                then()


def _note(known: _Known, rcpt: RcptRecord) -> None:
    if not is_report(rcpt):
        known.holders.setdefault(mailbox_of(rcpt.rcpt), rcpt.rcpt_idx)
