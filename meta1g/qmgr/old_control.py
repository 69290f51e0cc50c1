"""The control socket: commands of qmgrctl and mailq, answered with JSON.

Every command gets one answer on every path.  What may take long is done in slices (Defer.scan).

What reads needs no more than access to the socket; what changes anything is for root and the account of QMGR.

Locking: AQ for what is in AQ; DEFEDB is asked in its own thread.
Ref: MeTA1 design, "Functional Specification: QMGR, control" (modelled on).
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from meta1g.base import failure, sysexits
from meta1g.base.clock import Clock
from meta1g.base.errors import FullError
from meta1g.base.ids import RcptId, TaId, is_id, rcpt_id, split_rcpt_id
from meta1g.base.log import Log
from meta1g.db.aq_types import AqRcpt, RcptState
from meta1g.db.defedb import DefeDb
from meta1g.pt.rcbcom import RcbCom
from meta1g.qmgr.active import Active
from meta1g.qmgr.defer import Change, Defer, Steps
from meta1g.qmgr.feeder import Feeder
from meta1g.qmgr.limits import LIST_MAX
from meta1g.qmgr.sched import Scheduler
from meta1g.rcb.control import Command, CommandResult
from meta1g.rcb.envelope import RcptFlags, RcptRecord, TaRecord
from meta1g.rcb.schema import Message

T = TypeVar("T")
Answer = Callable[[int, Any, str], None]
Found = tuple[TaRecord, RcptRecord]
_FREE: Final = frozenset((RcptState.NEW, RcptState.READY))
#: Records that one step of a scan reads, and recipients of AQ that are changed under its lock at once.
_STEP: Final = 100


class CommandError(Exception):
    """A command cannot be carried out.

    Args:
        text: why, and what to do.
        exit_code: one of sysexits.
    """

    def __init__(self, text: str, exit_code: int = sysexits.EX_USAGE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def entry(ta: TaRecord | None, rcpt: RcptRecord, where: str, sender: str | None = None) -> dict[str, Any]:
    """Gives a recipient as it is listed: a JSON object."""
    mail = ta.mail if ta is not None else ""
    return {
        "ta": rcpt.ta_id,
        "rcpt_idx": rcpt.rcpt_idx,
        "rcpt": rcpt.rcpt,
        "mail": sender if sender is not None else (rcpt.sender if rcpt.sender is not None else mail),
        "size": ta.size_bytes if ta is not None else 0,
        "entered": ta.entered if ta is not None else 0.0,
        "where": "held" if where == "defedb" and rcpt.flags & RcptFlags.HOLD else where,
        "tries": rcpt.tries,
        "next_try": rcpt.next_try,
        "status": " ".join(word for word in (str(rcpt.code or ""), rcpt.ecode, rcpt.text) if word),
        "remote_mta": rcpt.remote_mta,
    }


def _aq_entry(rcpt: AqRcpt) -> dict[str, Any]:
    return entry(rcpt.ta.record, rcpt.record, f"aq {rcpt.state.name.lower()}", rcpt.sender)


class Control:
    """The commands.

    Args:
        active: recipients in AQ.
        defer: DEFEDB.
        scheduler: destinations.
        feeder: brings recipients back that are retried.
        status: gives the counters for `status`.
        usage: gives the resources for `usage`.
        clock: the clock.
        log: changes are logged.

    Locking: none of its own.
    """

    def __init__(
        self,
        active: Active,
        defer: Defer,
        scheduler: Scheduler,
        feeder: Feeder,
        status: Callable[[], dict[str, Any]],
        usage: Callable[[], dict[str, Any]],
        clock: Clock,
        log: Log,
    ) -> None:
        self._active = active
        self._defer = defer
        self._scheduler = scheduler
        self._feeder = feeder
        self._status = status
        self._usage = usage
        self._clock = clock
        self._log = log
        #: command word: (function, changes something)
        self._commands: Final[dict[str, tuple[Callable[[Sequence[str], Answer], None], bool]]] = {
            "status": (self._do_status, False),
            "usage": (self._do_usage, False),
            "queue": (self._do_queue, False),
            "show": (self._do_show, False),
            "destinations": (self._do_destinations, False),
            "retry": (self._do_retry, True),
            "release": (self._do_release, True),
            "remove": (self._do_remove, True),
        }

    def on_connect(self, conn: RcbCom) -> None:
        """Takes a new connection (RcbListener)."""
        conn.on_message = self._on_message
        conn.on_failure = self._on_failure

    def _on_failure(self, conn: RcbCom, request_id: int, msg: Message) -> bool:
        conn.reply(request_id, CommandResult(exit_code=sysexits.EX_SOFTWARE, text="internal error; see the log of qmgr"))
        return True

    def _on_message(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        answered = False

        def answer(code: int, result: Any, more: str = "") -> None:
            nonlocal answered
            if not (answered or conn.closed):
                text = result if isinstance(result, str) else json.dumps(result)
                conn.reply(request_id, CommandResult(exit_code=code, text=text, more=more))
                answered = True

        def failed(error: Exception) -> None:
            answer(sysexits.EX_SOFTWARE, f"internal error: {type(error).__name__}; see the log of qmgr")

        words = msg.words if isinstance(msg, Command) else ()
        with failure.item(self._log, "qmgr.control", failed, command=" ".join(words)):
            try:
                self._run(words, conn.peer_uid, answer)
            except CommandError as error:
                answer(error.exit_code, str(error))
            except FullError as error:
                answer(sysexits.EX_TEMPFAIL, error.cause)

    def _run(self, words: Sequence[str], uid: int, answer: Answer) -> None:
        function, changes = self._commands.get(words[0] if words else "", (None, False))
        if function is None:
            raise CommandError(f"unknown command; commands are: {' '.join(self._commands)}")
        if changes and uid not in (0, os.geteuid()):
            raise CommandError(f"{words[0]} is for root and the account of qmgr only", sysexits.EX_NOPERM)
        if changes:
            self._log.notice("qmgr.control", "ok", command=" ".join(words))
        function(words[1:], answer)

    # -- what reads ----------------------------------------------------------------------------------------------------

    def _do_status(self, words: Sequence[str], answer: Answer) -> None:
        answer(0, self._status(), "")

    def _do_usage(self, words: Sequence[str], answer: Answer) -> None:
        answer(0, self._usage(), "")

    def _do_destinations(self, words: Sequence[str], answer: Answer) -> None:
        now_s = self._clock.monotonic()
        with self._active.lock:
            rows = [
                {
                    "server": dest.key.addr,
                    "port": dest.key.port,
                    "da": dest.key.da,
                    "open": dest.open,
                    "idle": len(dest.idle),
                    "limit": dest.limit,
                    "deliveries": dest.deliveries,
                    "waiting": len(queue) if (queue := self._active.queues.get(dest.key)) is not None else 0,
                    "closed_s": round(max(0.0, dest.closed_until - now_s), 1),
                    "failure": " ".join(str(word) for word in dest.failure if word),
                }
                for dest in self._scheduler.occ.dests()
            ]
        answer(0, rows, "")

    def _aq_entries(self, ta_id: str) -> list[dict[str, Any]]:
        with self._active.lock:
            ta = self._active.aq.get(ta_id)
            return [] if ta is None else [_aq_entry(rcpt) for rcpt in ta.rcpts.values()]

    def _do_queue(self, words: Sequence[str], answer: Answer) -> None:
        """Lists AQ and DEFEDB in the order of the ids, from the recipient named on."""
        after = None
        if words:
            ta_id, rcpt_idx = _parse_id(words[0])
            after = rcpt_id(ta_id, rcpt_idx or 0)

        def read(db: DefeDb) -> Steps[list[tuple[RcptId, dict[str, Any]]]]:
            rows: dict[RcptId, dict[str, Any]] = {}
            last: str | None = after
            while len(rows) < LIST_MAX and (found := db.scan(last, min(_STEP, LIST_MAX - len(rows)))):
                for rcpt in found:
                    last = key = rcpt_id(rcpt.ta_id, rcpt.rcpt_idx)
                    rows[key] = entry(db.get_ta(rcpt.ta_id), rcpt, "defedb")
                yield
            return sorted({**rows, **self._aq_page(after)}.items())[:LIST_MAX]

        def finish(page: list[tuple[RcptId, dict[str, Any]]]) -> None:
            answer(0, [row for _, row in page], page[-1][0] if len(page) == LIST_MAX else "")

        self._ask(read, finish, answer)

    def _aq_page(self, after: str | None) -> dict[RcptId, dict[str, Any]]:
        """Gives the recipients in AQ whose ids come after one, as many as an answer can hold."""
        first = after.partition("-")[0] if after is not None else ""
        with self._active.lock:
            tas = self._active.aq.tas()
        rows: dict[RcptId, dict[str, Any]] = {}
        for ta in sorted((ta for ta in tas if ta.ta_id >= first), key=lambda ta: ta.ta_id):
            with self._active.lock:
                ids = ((rcpt_id(ta.ta_id, rcpt_idx), rcpt) for rcpt_idx, rcpt in sorted(ta.rcpts.items()))
                wanted = (one for one in ids if after is None or one[0] > after)
                rows.update((key, _aq_entry(rcpt)) for key, rcpt in islice(wanted, LIST_MAX))
            if len(rows) >= LIST_MAX:
                break
        return rows

    def _ask(self, function: Callable[[DefeDb], Steps[T]], on_done: Callable[[T], None], answer: Answer) -> None:
        """Asks DEFEDB in slices; its failure is the answer."""
        self._defer.scan(function, on_done, lambda error: answer(sysexits.EX_TEMPFAIL, f"DEFEDB: {error}", ""))

    def _in_aq(self, ta_id: str, rcpt_idx: int) -> bool:
        with self._active.lock:
            return self._active.aq.has(ta_id, rcpt_idx)

    def _do_show(self, words: Sequence[str], answer: Answer) -> None:
        if len(words) != 1:
            raise CommandError("show needs the id of a transaction")
        ta_id, _ = _parse_id(words[0])
        rows = self._aq_entries(ta_id)
        seen = {row["rcpt_idx"] for row in rows}

        def finish(found: list[dict[str, Any]]) -> None:
            result = rows + [row for row in found if row["rcpt_idx"] not in seen]
            if result:
                answer(0, result, "")
            else:
                answer(sysexits.EX_NOINPUT, f"{ta_id}: no such transaction in the queues", "")

        def read(db: DefeDb) -> Steps[list[dict[str, Any]]]:
            found: list[dict[str, Any]] = []
            one = db.get_ta(ta_id)
            for rcpts in _recipients(db, ta_id):
                found += [entry(one, rcpt, "defedb") for rcpt in rcpts]
                yield
            return found

        self._ask(read, finish, answer)

    # -- what changes --------------------------------------------------------------------------------------------------

    def _do_retry(self, words: Sequence[str], answer: Answer) -> None:
        """Makes deferred recipients due now: all, those of a transaction, or those of a domain; not those that are held."""
        if len(words) != 1:
            raise CommandError("retry needs `all`, the id of a transaction, or a domain")
        what, now = words[0], self._clock.now()
        self._scheduler.retry_dests()

        def wanted(rcpt: RcptRecord) -> bool:
            return what in ("all", rcpt.ta_id) or rcpt.rcpt.rpartition("@")[2].lower() == what.lower()

        def advance(db: DefeDb) -> Steps[dict[str, int]]:
            result = {"retried": 0}
            for rcpts in _recipients(db, what if is_id(what) else None):
                chosen = [rcpt for rcpt in rcpts if wanted(rcpt)]
                held = sum(bool(rcpt.flags & RcptFlags.HOLD) for rcpt in chosen)
                if held:
                    result["held"] = result.get("held", 0) + held
                changed = [rcpt for rcpt in chosen if rcpt.next_try > now and not rcpt.flags & RcptFlags.HOLD]
                result["retried"] += _due_now(db, changed, now)
                yield
            return result

        self._ask(advance, partial(self._advanced, answer), answer)

    def _do_release(self, words: Sequence[str], answer: Answer) -> None:
        """Lets recipients that are held be tried again: all, those of a transaction, or one."""
        if len(words) != 1:
            raise CommandError("release needs `all`, or the id of a transaction or of a recipient")
        ta_id, only = (None, None) if words[0] == "all" else _parse_id(words[0])
        now = self._clock.now()

        def release(db: DefeDb) -> Steps[dict[str, int]]:
            count = 0
            for rcpts in _recipients(db, ta_id):
                held = [rcpt for rcpt in rcpts if rcpt.flags & RcptFlags.HOLD and only in (None, rcpt.rcpt_idx)]
                count += _due_now(db, [replace(rcpt, flags=rcpt.flags & ~RcptFlags.HOLD) for rcpt in held], now)
                yield
            return {"released": count}

        self._ask(release, partial(self._advanced, answer), answer)

    def _advanced(self, answer: Answer, result: dict[str, int]) -> None:
        """Lets the feeder see what was made due."""
        with self._active.lock:
            self._active.edbc.reset()
        self._feeder.wake()
        self._defer.count_held()
        answer(0, result, "")

    def _do_remove(self, words: Sequence[str], answer: Answer) -> None:
        """Removes a transaction or a recipient without a bounce; what is being delivered stays."""
        if len(words) != 1:
            raise CommandError("remove needs the id of a transaction or of a recipient")
        ta_id, only = _parse_id(words[0])

        def remove(db: DefeDb) -> Steps[int]:
            removed = yield from self._remove_from_aq(ta_id, only)
            one = db.get_ta(ta_id)
            for rcpts in _recipients(db, ta_id) if one is not None else ():
                gone = [rcpt for rcpt in rcpts if only in (None, rcpt.rcpt_idx) and not self._in_aq(rcpt.ta_id, rcpt.rcpt_idx)]
                if one is not None and gone:
                    self._remove_from_defedb(one, gone)
                removed += len(gone)
                yield
            return removed

        self._ask(remove, lambda removed: answer(0, {"removed": removed}, ""), answer)

    def _remove_from_aq(self, ta_id: TaId, only: int | None) -> Steps[int]:
        with self._active.lock:
            ta = self._active.aq.get(ta_id)
            rcpts: list[AqRcpt] = [] if ta is None else list(ta.rcpts.values())
        removed = 0
        for start in range(0, len(rcpts), _STEP):
            with self._active.lock:
                for rcpt in rcpts[start : start + _STEP]:
                    there = self._active.aq.has(ta_id, rcpt.record.rcpt_idx)
                    if there and rcpt.state in _FREE and only in (None, rcpt.record.rcpt_idx):
                        self._active.removed(rcpt, "removed")
                        removed += 1
            yield
        return removed

    def _remove_from_defedb(self, one: TaRecord, gone: Sequence[RcptRecord]) -> None:
        for rcpt in gone:
            self._log.notice("qmgr.removed", "ok", ss_ta=rcpt.ta_id, rcpt_idx=rcpt.rcpt_idx, rcpt=rcpt.rcpt)
        indexes = tuple(rcpt.rcpt_idx for rcpt in gone)
        self._defer.add(Change(ta=one, removed=indexes, stored=partial(self._active.removed_from_defedb, one)))


def _parse_id(text: str) -> tuple[TaId, int | None]:
    try:
        if "-" in text:
            return split_rcpt_id(text)
        if not is_id(text):
            raise ValueError(f"not a transaction id: {text!r}")
    except ValueError as error:
        raise CommandError(f"{error}; qmgrctl queue lists the ids") from error
    return TaId(text), None


def _recipients(db: DefeDb, ta_id: str | None) -> Iterator[list[RcptRecord]]:
    """Gives the recipients of a transaction, or all, piece by piece; what changes meanwhile does not matter."""
    if ta_id is None:
        after: str | None = None
        while found := db.scan(after, _STEP):
            yield found
            after = rcpt_id(found[-1].ta_id, found[-1].rcpt_idx)
        return
    last = -1
    while found := db.get_rcpts(ta_id, last, _STEP):
        yield found
        last = found[-1].rcpt_idx


def _due_now(db: DefeDb, rcpts: Sequence[RcptRecord], now: float) -> int:
    """Sets the next try of recipients to now; gives how many.  Blocks: yes (disk)."""
    if rcpts:
        db.store((), [replace(rcpt, next_try=now) for rcpt in rcpts], ())
    return len(rcpts)
