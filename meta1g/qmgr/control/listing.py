"""Commands that look: queue, count, show, transaction, destinations.

The list of recipients has a second form, for long queues: what is in DEFEDB alone is given as it stands there, for whoever asks
to read and to select from; that takes QMGR an eighth of the time.

A page is a few hundred rows, or what could be looked at in a bounded time; `more` is where the next one begins: an id.  Ids are
never used again, and pages follow their order, so that whatever is there from the first page to the last one is listed exactly
once, whatever comes and goes meanwhile.  Nobody keeps a list between two pages.

Locking: takes AQ for a slice; DEFEDB is read in its thread.
Ref: docs/operating.md; Postfix' qshape (age by destination, modelled on).
"""

import zlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final

from meta1g.base import sysexits
from meta1g.base.clock import Clock
from meta1g.base.ids import split_rcpt_id
from meta1g.base.mailbox import domain_of
from meta1g.base.tlspolicy import policy_of
from meta1g.db.aq_types import DestKey
from meta1g.db.defedb import DefeDb
from meta1g.db.defedb_page import page_of
from meta1g.db.occ import Destination
from meta1g.qmgr.active import Active
from meta1g.qmgr.control.rows import QueuedRcpt
from meta1g.qmgr.control.selection import CommandError, Selector, parse, parse_id
from meta1g.qmgr.control.walk import STEP, QueueWalk
from meta1g.qmgr.defer import ReadSteps
from meta1g.qmgr.limits import COUNT_KEYS_MAX, LIST_MAX, PAGE_BYTES, PAGE_LOOKS, PAGE_RECORDS
from meta1g.qmgr.sched import Scheduler
from meta1g.rcb.common import DeliveryAgent

AFTER: Final = "--after"
#: Upper bounds of the classes of age, minutes; those of qshape.
AGES_MIN: Final = (5, 10, 20, 40, 80, 160, 320, 640, 1280)
_AGES_S: Final = tuple(60 * minutes for minutes in AGES_MIN)

#: Rows, and where the next page begins.
_Page = tuple[list[dict[str, Any]], str]
#: Rows, where the next page begins, and records as they stand.
_StoredPage = tuple[list[dict[str, Any]], str, bytes]


def _status_class(one: QueuedRcpt) -> str:
    """Gives code and enhanced code; texts differ too much to be counted."""
    return " ".join(one.status.split(" ")[:2]) if one.status else "-"


#: What can be counted.
COUNTS: Final[dict[str, Callable[[QueuedRcpt], str]]] = {
    "domain": lambda one: domain_of(one.rcpt.rcpt),
    "sender": lambda one: one.sender.lower(),
    "destination": lambda one: one.destination,
    "status": _status_class,
    "state": lambda one: one.state,
    "age": lambda one: "all",
}


class Listing:
    """The commands.

    Args:
        active: recipients in AQ.
        scheduler: destinations.
        clock: the clock.
    """

    def __init__(self, active: Active, scheduler: Scheduler, clock: Clock) -> None:
        self._active = active
        self._scheduler = scheduler
        self._clock = clock
        self._walk = QueueWalk(active)

    # -- pages ---------------------------------------------------------------------------------------------------------

    def queue(self, words: Sequence[str]) -> Callable[[DefeDb], ReadSteps[_Page]]:
        """Gives the work of one page of recipients, in the order of their ids.

        Raises:
            CommandError: the words are wrong.
        """
        after, words = _after(words)
        selector = parse("queue", words or ["all"])
        return lambda db: self._page(db, selector, after, QueuedRcpt.row)

    def stored(self, words: Sequence[str]) -> Callable[[DefeDb], ReadSteps[_StoredPage | _Page]]:
        """Gives the work of one page of recipients: rows of those in AQ that are selected, records of all in DEFEDB alone.

        Where the client cannot select, it gives rows, as queue() does.

        Raises:
            CommandError: the words are wrong.
        """
        after, words = _after(words)
        selector = parse("queue", words or ["all"])
        if not selector.by_record:
            return lambda db: self._page(db, selector, after, QueuedRcpt.row)
        return lambda db: self._stored_page(db, selector, after)

    def _stored_page(self, db: DefeDb, selector: Selector, after: tuple[str, int] | None) -> ReadSteps[_StoredPage]:
        now = self._clock.now()
        found = yield from self._walk.aq_page(selector, after, now, LIST_MAX)
        ends = [str(found[-1].id)] if len(found) >= LIST_MAX else []
        rows = {str(one.id): one for one in found}
        records: list[tuple[bytes, bytes]] = []
        size = 0
        for end, some, active in self._walk.as_they_stand(db, after):
            records += some
            size += sum(len(value) for _, value in some)
            rows |= {str(one.id): one for one in active if str(one.id) not in rows and selector.matches(one, now)}
            if size >= PAGE_BYTES or len(records) >= PAGE_RECORDS or (ends and end >= ends[0]):
                ends.append(end)
                break
            yield None
        more = min(ends, default="")
        ids = sorted(rows)
        if more:
            del ids[bisect_right(ids, more) :]
            del records[bisect_right(records, more.encode(), key=_key) :]
        values = [value for key, value in records if key.decode() not in rows]
        return [rows[one].row() for one in ids], more, page_of(values)

    def show(self, words: Sequence[str]) -> Callable[[DefeDb], ReadSteps[_Page]]:
        """Gives the work of one page of the recipients of a transaction, with all that is known of them."""
        after, words = _after(words)
        if len(words) != 1:
            raise CommandError("show needs the id of a transaction or of a recipient")
        ta_id, rcpt_idx = parse_id(words[0])
        selector = Selector(words[0], ((ta_id, rcpt_idx),))

        def work(db: DefeDb) -> ReadSteps[_Page]:
            page = yield from self._page(db, selector, after, QueuedRcpt.details)
            if not page[0] and after is None:
                raise CommandError(f"{words[0]}: no such transaction or recipient in the queues", sysexits.EX_NOINPUT)
            return page

        return work

    def _page(
        self, db: DefeDb, selector: Selector, after: tuple[str, int] | None, row: Callable[[QueuedRcpt], dict[str, Any]]
    ) -> ReadSteps[_Page]:
        """Reads a page: from AQ first, then from DEFEDB, each to where the other one ends."""
        now = self._clock.now()
        found = yield from self._walk.aq_page(selector, after, now, LIST_MAX)
        ends = [found[-1].id] if len(found) >= LIST_MAX else []
        rows = {str(one.id): one for one in found}
        looked = count = 0
        for entries in self._walk.stored(db, selector, after):
            for one in entries:
                if str(one.id) not in rows and selector.matches(one, now):
                    rows[str(one.id)] = one
                    count += 1
            looked += len(entries)
            if count >= LIST_MAX or looked >= PAGE_LOOKS or (ends and entries[-1].id >= ends[0]):
                ends.append(entries[-1].id)
                break
            yield None
        ids = sorted(rows)
        if ends:
            del ids[bisect_right(ids, min(ends)) :]
        more = str(min(ends)) if ends else ""
        if len(ids) > LIST_MAX:
            del ids[LIST_MAX:]
            more = ids[-1]
        return [row(rows[one]) for one in ids], more

    def transaction(self, words: Sequence[str]) -> Callable[[DefeDb], ReadSteps[dict[str, Any]]]:
        """Gives the work of finding the envelope of a transaction."""
        if len(words) != 1:
            raise CommandError("transaction needs the id of a transaction or of a recipient")
        ta_id, _ = parse_id(words[0])

        def work(db: DefeDb) -> ReadSteps[dict[str, Any]]:
            with self._active.lock:
                ta = self._active.aq.get(ta_id)
                record = None if ta is None else ta.record
            if record is None:
                record = db.get_ta(ta_id)
            yield None
            if record is None:
                raise CommandError(f"{ta_id}: no such transaction in the queues", sysexits.EX_NOINPUT)
            return {
                "ta": record.ta_id,
                "cdb_id": record.cdb_id,
                "mail": record.mail,
                "size": record.size_bytes,
                "checksum": record.checksum,
                "entered": record.entered,
                "body": record.body,
                "smtputf8": record.smtputf8,
                "requiretls": record.requiretls,
                "tls_optional": record.tls_optional,
                "ret": record.ret,
                "envid": record.envid,
                "by": record.by or None,
                "by_mode": record.by_mode,
                "priority": record.priority,
            }

        return work

    # -- counts --------------------------------------------------------------------------------------------------------

    def count(self, words: Sequence[str], gone: Callable[[], bool]) -> Callable[[DefeDb], ReadSteps[dict[str, Any]]]:
        """Gives the work of counting recipients by something and by age."""
        by = words[0] if words else ""
        if by not in COUNTS:
            raise CommandError(f"count needs what to count by: {' '.join(COUNTS)}")
        selector = parse("count", words[1:] or ["all"])
        return lambda db: self._count(db, selector, by, gone)

    def _count(self, db: DefeDb, selector: Selector, by: str, gone: Callable[[], bool]) -> ReadSteps[dict[str, Any]]:
        counts = _Counts(COUNTS[by], self._clock.now())
        in_aq: set[tuple[str, int]] = set()
        entries: list[QueuedRcpt] = []
        for pause_s in self._walk.in_aq(selector, lambda rcpt: entries.append(QueuedRcpt.of_aq(rcpt))):
            counts.add(selector, entries)
            in_aq.update((one.rcpt.ta_id, one.rcpt.rcpt_idx) for one in entries)
            entries.clear()
            yield pause_s
        counts.add(selector, entries)
        in_aq.update((one.rcpt.ta_id, one.rcpt.rcpt_idx) for one in entries)
        for some in self._walk.stored(db, selector):
            counts.add(selector, [one for one in some if (one.rcpt.ta_id, one.rcpt.rcpt_idx) not in in_aq])
            if gone():
                break
            yield None
        return {"by": by, **counts.result()}

    # -- destinations --------------------------------------------------------------------------------------------------

    def destinations(self, words: Sequence[str]) -> _Page:
        """Gives a page of what is known of the servers, in the order of their addresses."""
        after = tuple(words[1].split("|")) if words[:1] == (AFTER,) and len(words) == 2 else None
        if words and after is None:
            raise CommandError("destinations takes no argument")
        with self._active.lock:
            dests = self._scheduler.occ.dests()
        dests.sort(key=_dest_words)
        if after is not None:
            dests = dests[bisect_right(dests, after, key=_dest_words) :]
        rows: list[dict[str, Any]] = []
        now_s = self._clock.monotonic()
        for first in range(0, min(len(dests), LIST_MAX), STEP):
            with self._active.lock:
                rows += [self._dest_row(dest, now_s) for dest in dests[first : min(first + STEP, LIST_MAX)]]
        return rows, "|".join(_dest_words(dests[LIST_MAX - 1])) if len(dests) > LIST_MAX else ""

    def _dest_row(self, dest: Destination, now_s: float) -> dict[str, Any]:
        """Gives one destination.  Caller holds AQ."""
        queue = self._active.queues.get(dest.key)
        return {
            "server": dest.key.addr,
            "port": dest.key.port,
            "da": DeliveryAgent(dest.key.da).name.lower(),
            "tls": policy_of(dest.key.tls).level.value,
            "open": dest.open,
            "idle": len(dest.idle),
            "limit": dest.limit,
            "deliveries": dest.deliveries,
            "waiting": 0 if queue is None else len(queue),
            "closed_s": round(max(0.0, dest.closed_until - now_s), 1),
            "failure": str(dest.failure) if dest.failure.code else "",
        }


def _key(record: tuple[bytes, bytes]) -> bytes:
    return record[0]


def _dest_words(dest: Destination) -> tuple[str, ...]:
    key: DestKey = dest.key
    return key.addr, f"{key.port:05}", str(key.da), f"{zlib.crc32(key.tls.encode()):08x}"


def _after(words: Sequence[str]) -> tuple[tuple[str, int] | None, Sequence[str]]:
    """Takes where the page begins out of the words of a command."""
    if AFTER not in words:
        return None, words
    at = words.index(AFTER)
    try:
        ta_id, rcpt_idx = split_rcpt_id(words[at + 1])
    except (IndexError, ValueError) as error:
        raise CommandError(f"{AFTER} needs the id of a recipient: {error}") from error
    return (ta_id, rcpt_idx), (*words[:at], *words[at + 2 :])


class _Counts:
    """Counts by something and by age.  Owner: the command.

    Args:
        key: what is counted.
        now: seconds since the epoch.
    """

    def __init__(self, key: Callable[[QueuedRcpt], str], now: float) -> None:
        self._key = key
        self._now = now
        self._rows: dict[str, list[int]] = {}
        self._total = [0] * (len(_AGES_S) + 1)
        self._others = [0] * (len(_AGES_S) + 1)

    def add(self, selector: Selector, entries: Sequence[QueuedRcpt]) -> None:
        """Counts those that are selected."""
        for one in entries:
            if not selector.matches(one, self._now):
                continue
            age = bisect_right(_AGES_S, self._now - one.rcpt.entered)
            self._total[age] += 1
            self._row(self._key(one))[age] += 1

    def _row(self, key: str) -> list[int]:
        """Gives the row of a key; beyond a bound all others have one together (invariant I4)."""
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= COUNT_KEYS_MAX:
                return self._others
            row = self._rows[key] = [0] * (len(_AGES_S) + 1)
        return row

    def result(self) -> dict[str, Any]:
        """Gives the counts, the greatest first; as many rows as an answer takes."""
        ordered = sorted(self._rows.items(), key=lambda item: (-sum(item[1]), item[0]))
        for _, ages in ordered[LIST_MAX:]:
            self._others = [one + other for one, other in zip(self._others, ages, strict=True)]
        rows = [{"key": key, "total": sum(ages), "ages": ages} for key, ages in ordered[:LIST_MAX]]
        return {
            "ages_min": list(AGES_MIN),
            "total": sum(self._total),
            "ages": self._total,
            "rows": rows,
            "others": sum(self._others),
            "others_ages": self._others,
        }
