"""Going through AQ and DEFEDB in slices, whatever their size: nobody waits for it longer than a few milliseconds (I10).

All of it runs in the DEFEDB thread, as steps of a scan.  In one step nothing enters AQ from DEFEDB, and nothing leaves AQ for
it: a recipient that is not in AQ then is in DEFEDB alone, and no change of it waits.  From one step to the next everything
may change.

AQ is looked at first: what leaves it for DEFEDB is there before it is gone here, so that nobody is overlooked.

Locking: takes AQ for a slice.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from meta1g.base.ids import ID_LENGTH, TaId, rcpt_id
from meta1g.db.aq_types import AqRcpt, AqTa
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_records import split_rcpt_key
from meta1g.qmgr.active import Active
from meta1g.qmgr.control.rows import QueuedRcpt
from meta1g.qmgr.control.selection import Selector
from meta1g.qmgr.defer import ReadSteps
from meta1g.rcb.envelope import RcptRecord, TaRecord

#: Recipients that one step looks at: some 1 ms.
STEP: Final = 25
#: Recipients that one step takes as they stand: some 0.2 ms.
STORED_STEP: Final = 25
#: A recipient with its transaction, which may not be readable.
_Record = tuple[TaRecord | None, RcptRecord]
#: Key and value of a record.
_Stored = tuple[bytes, bytes]
#: Ids of AQ that are compared at once.
_IDS_STEP: Final = 2000


def _in_order(ids: Iterable[tuple[TaId, int | None]]) -> list[tuple[TaId, int | None]]:
    """Gives ids in their order, a transaction before its recipients."""
    return sorted(ids, key=lambda one: (one[0], -1 if one[1] is None else one[1]))


class QueueWalk:
    """The way through the queues.

    Args:
        active: recipients in AQ.

    Locking: takes AQ.
    """

    def __init__(self, active: Active) -> None:
        self._active = active

    # -- AQ ------------------------------------------------------------------------------------------------------------

    def in_aq(self, selector: Selector, visit: Callable[[AqRcpt], object]) -> ReadSteps[None]:
        """Shows the recipients in AQ, in no order: those that are named, all if none is; their conditions are not looked at.

        Args:
            selector: which ones.
            visit: called with each; AQ is held.
        """
        count = 0
        for ta_id, only in self._named(selector):
            for some in self._indexes(ta_id, only):
                with self._active.lock:
                    for rcpt in list(self._present(ta_id, some)):
                        visit(rcpt)
                count += len(some)
                if count >= STEP:
                    count = 0
                    yield None

    def _named(self, selector: Selector) -> Sequence[tuple[str, int | None]]:
        if selector.ids is not None:
            return selector.ids
        return [(ta.ta_id, None) for ta in self._tas()]

    def _tas(self) -> list[AqTa]:
        with self._active.lock:
            return self._active.aq.tas()

    def _indexes(self, ta_id: str, only: int | None, first: int = 0) -> Iterator[list[int]]:
        """Gives the indexes of a transaction in AQ in their order, in slices."""
        if only is not None:
            yield [only]
            return
        with self._active.lock:
            ta = self._active.aq.get(ta_id)
            indexes = [] if ta is None else list(ta.rcpts)
        if len(indexes) > 1:
            indexes.sort()
        if first:
            indexes = [index for index in indexes if index >= first]
        for start in range(0, len(indexes), STEP):
            yield indexes[start : start + STEP]

    def _present(self, ta_id: str, indexes: Sequence[int]) -> Iterator[AqRcpt]:
        """Gives those that are in AQ.  Caller holds AQ."""
        ta = self._active.aq.get(ta_id)
        if ta is not None:
            yield from (ta.rcpts[index] for index in indexes if index in ta.rcpts)

    def aq_page(self, selector: Selector, after: tuple[str, int] | None, now: float, limit: int) -> ReadSteps[list[QueuedRcpt]]:
        """Gives the selected recipients of AQ behind an id, in the order of the ids.

        Args:
            selector: which ones.
            after: transaction id and index of the last one of the page before; None to begin.
            now: seconds since the epoch.
            limit: greatest number.
        """
        found: list[QueuedRcpt] = []
        looked = 0
        for ta_id, only in (yield from self._sorted_ids(selector, after)):
            first = after[1] + 1 if after is not None and ta_id == after[0] else 0
            if only is not None and only < first:
                continue
            for some in self._indexes(ta_id, only, first):
                with self._active.lock:
                    entries = [QueuedRcpt.of_aq(rcpt) for rcpt in self._present(ta_id, some)]
                found += islice((one for one in entries if selector.matches(one, now)), limit - len(found))
                if len(found) >= limit:
                    return found
                looked += len(some)
                if looked >= STEP:
                    looked = 0
                    yield None
        return found

    def _sorted_ids(self, selector: Selector, after: tuple[str, int] | None) -> ReadSteps[Sequence[tuple[str, int | None]]]:
        """Gives the ids at or behind the one of `after`, in order; they come nearly in order."""
        first = "" if after is None else after[0]
        if selector.ids is not None:
            return _in_order(one for one in selector.ids if one[0] >= first)
        tas, ids = self._tas(), []
        for start in range(0, len(tas), _IDS_STEP):
            ids += [ta.ta_id for ta in tas[start : start + _IDS_STEP] if ta.ta_id >= first]
            yield None
        ids.sort()
        return [(ta_id, None) for ta_id in ids]

    # -- DEFEDB --------------------------------------------------------------------------------------------------------

    def stored(self, db: DefeDb, selector: Selector, after: tuple[str, int] | None = None) -> Iterator[list[QueuedRcpt]]:
        """Gives the recipients of DEFEDB in slices, in the order of the ids: those that are named, all if none is.

        Their conditions are not looked at.  Those that are in AQ, too, are shown as they are there.

        Args:
            db: DEFEDB.
            selector: which ones.
            after: transaction id and index of the last one of the page before; None to begin.
        """
        for found in self._records(db, selector, after):
            with self._active.lock:
                entries = [self._entry(ta, rcpt) for ta, rcpt in found]
            yield entries

    def as_they_stand(self, db: DefeDb, after: tuple[str, int] | None) -> Iterator[tuple[str, list[_Stored], list[QueuedRcpt]]]:
        """Gives the records of DEFEDB behind an id in slices, unread; those of recipients in AQ are left out, and shown apart.

        Args:
            db: DEFEDB.
            after: transaction id and index of the last one of the page before; None to begin.

        Returns:
            For each slice the id where it ends, records with their keys, and the recipients that are in AQ.
        """
        last = None if after is None else str(rcpt_id(*after))
        while found := db.scan_stored(last, STORED_STEP):
            here: dict[bytes, AqRcpt] = {}
            with self._active.lock:
                for key, _ in found:
                    ta = self._active.aq.get(key[:ID_LENGTH].decode())
                    rcpt = ta.rcpts.get(split_rcpt_key(key)[1]) if ta is not None and len(key) > ID_LENGTH else None
                    if rcpt is not None:
                        here[key] = rcpt
                entries = [QueuedRcpt.of_aq(rcpt) for rcpt in here.values()]
            last = found[-1][0].decode()
            yield last, [one for one in found if one[0] not in here] if here else found, entries

    def _entry(self, ta: TaRecord | None, rcpt: RcptRecord) -> QueuedRcpt:
        """Makes an entry.  Caller holds AQ."""
        here = self.find(rcpt.ta_id, rcpt.rcpt_idx)
        if here is not None:
            return QueuedRcpt.of_aq(here)
        return QueuedRcpt(ta, rcpt, place=self._active.aq.place_of(rcpt.rcpt))

    def find(self, ta_id: str, rcpt_idx: int) -> AqRcpt | None:
        """Gives a recipient if it is in AQ.  Caller holds AQ."""
        ta = self._active.aq.get(ta_id)
        return None if ta is None else ta.rcpts.get(rcpt_idx)

    def _records(self, db: DefeDb, selector: Selector, after: tuple[str, int] | None) -> Iterator[list[_Record]]:
        if selector.ids is None:
            last = None if after is None else str(rcpt_id(*after))
            while found := db.scan_envelopes(last, STEP):
                yield found
                last = rcpt_id(found[-1][1].ta_id, found[-1][1].rcpt_idx)
            return
        waiting: list[_Record] = []
        for ta_id, only in _in_order(selector.ids):
            if after is not None and ta_id < after[0]:
                continue
            for some in self._of_transaction(db, ta_id, only, after):
                waiting += some
                if len(waiting) >= STEP:
                    yield waiting
                    waiting = []
        if waiting:
            yield waiting

    @staticmethod
    def _of_transaction(db: DefeDb, ta_id: TaId, only: int | None, after: tuple[str, int] | None) -> Iterator[list[_Record]]:
        last = after[1] if after is not None and ta_id == after[0] else -1
        ta = db.get_ta(ta_id)
        if only is not None:
            one = db.get_rcpt(ta_id, only) if only > last else None
            if one is not None:
                yield [(ta, one)]
            return
        while found := db.get_rcpts(ta_id, last, STEP):
            yield [(ta, rcpt) for rcpt in found]
            last = found[-1].rcpt_idx
