"""The control socket: commands of qmgrctl and mailq, answered with JSON.

What reads needs no more than access to the socket; what changes anything is for root and the account of QMGR.

Locking: AQ for what is in AQ; DEFEDB is asked in its own thread.
Ref: MeTA1 design, "Functional Specification: QMGR, control" (modelled on).
"""

import heapq
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any, Final, TypeVar

from meta1g.base import sysexits
from meta1g.base.clock import Clock
from meta1g.base.errors import FullError
from meta1g.base.ids import RcptId, TaId, is_id, rcpt_id, split_rcpt_id
from meta1g.base.log import Log
from meta1g.db.aq_types import AqRcpt, RcptState
from meta1g.db.defedb import DefeDb
from meta1g.pt.rcbcom import RcbCom
from meta1g.qmgr.active import Active
from meta1g.qmgr.defer import Change, Defer
from meta1g.qmgr.feeder import Feeder
from meta1g.qmgr.limits import LIST_MAX
from meta1g.qmgr.sched import Scheduler
from meta1g.rcb.control import Command, CommandResult
from meta1g.rcb.envelope import RcptRecord, TaRecord
from meta1g.rcb.schema import Message

T = TypeVar("T")
Answer = Callable[[int, Any, str], None]
_FREE: Final = frozenset((RcptState.NEW, RcptState.READY))


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
        "where": where,
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
        def answer(code: int, result: Any, more: str = "") -> None:
            if not conn.closed:
                text = result if isinstance(result, str) else json.dumps(result)
                conn.reply(request_id, CommandResult(exit_code=code, text=text, more=more))

        words = msg.words if isinstance(msg, Command) else ()
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

        def read(db: DefeDb) -> list[tuple[RcptId, dict[str, Any]]]:
            rows = {
                rcpt_id(rcpt.ta_id, rcpt.rcpt_idx): entry(db.get_ta(rcpt.ta_id), rcpt, "defedb")
                for rcpt in db.scan(after, LIST_MAX)
            }
            return sorted({**rows, **self._aq_page(after)}.items())[:LIST_MAX]

        def finish(page: list[tuple[RcptId, dict[str, Any]]]) -> None:
            answer(0, [row for _, row in page], page[-1][0] if len(page) == LIST_MAX else "")

        self._ask(read, finish, answer)

    def _aq_page(self, after: str | None) -> dict[RcptId, dict[str, Any]]:
        """Gives the recipients in AQ whose ids come after one, as many as an answer can hold."""
        with self._active.lock:
            ids = ((rcpt_id(ta.ta_id, rcpt_idx), rcpt) for ta in self._active.aq.tas() for rcpt_idx, rcpt in ta.rcpts.items())
            chosen = heapq.nsmallest(LIST_MAX, (one for one in ids if after is None or one[0] > after), itemgetter(0))
            return {key: _aq_entry(rcpt) for key, rcpt in chosen}

    def _ask(self, function: Callable[[DefeDb], T], on_done: Callable[[T], None], answer: Answer) -> None:
        """Asks DEFEDB; its failure is the answer."""
        self._defer.ask(function, on_done, lambda error: answer(sysexits.EX_TEMPFAIL, f"DEFEDB: {error}", ""))

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

        self._ask(lambda db: [entry(db.get_ta(ta_id), rcpt, "defedb") for rcpt in db.get_rcpts(ta_id)], finish, answer)

    # -- what changes --------------------------------------------------------------------------------------------------

    def _do_retry(self, words: Sequence[str], answer: Answer) -> None:
        """Makes deferred recipients due now: all, those of a transaction, or those of a domain."""
        if len(words) != 1:
            raise CommandError("retry needs `all`, the id of a transaction, or a domain")
        what, now = words[0], self._clock.now()
        self._scheduler.retry_dests()

        def wanted(rcpt: RcptRecord) -> bool:
            return what in ("all", rcpt.ta_id) or rcpt.rcpt.rpartition("@")[2].lower() == what.lower()

        def advance(db: DefeDb) -> int:
            return _advance(db, wanted, now)

        def finish(count: int) -> None:
            with self._active.lock:
                self._active.edbc.reset()
            self._feeder.wake()
            answer(0, {"retried": count}, "")

        self._ask(advance, finish, answer)

    def _do_remove(self, words: Sequence[str], answer: Answer) -> None:
        """Removes a transaction or a recipient without a bounce; what is being delivered stays."""
        if len(words) != 1:
            raise CommandError("remove needs the id of a transaction or of a recipient")
        ta_id, only = _parse_id(words[0])
        removed = 0
        with self._active.lock:
            ta = self._active.aq.get(ta_id)
            rcpts: list[AqRcpt] = [] if ta is None else list(ta.rcpts.values())
            for rcpt in rcpts:
                if rcpt.state in _FREE and only in (None, rcpt.record.rcpt_idx):
                    self._active.removed(rcpt, "removed")
                    removed += 1

        def finish(found: list[tuple[TaRecord, RcptRecord]]) -> None:
            gone = [(one, rcpt) for one, rcpt in found if not self._in_aq(rcpt.ta_id, rcpt.rcpt_idx)]
            for one, rcpt in gone:
                self._log.notice("qmgr.removed", "ok", ss_ta=rcpt.ta_id, rcpt_idx=rcpt.rcpt_idx, rcpt=rcpt.rcpt)
                self._defer.add(Change(ta=one, removed=(rcpt.rcpt_idx,), stored=partial(self._active.removed_from_defedb, one)))
            answer(0, {"removed": removed + len(gone)}, "")

        self._ask(
            lambda db: [
                (one, rcpt)
                for rcpt in db.get_rcpts(ta_id)
                if only in (None, rcpt.rcpt_idx) and (one := db.get_ta(ta_id)) is not None
            ],
            finish,
            answer,
        )


def _parse_id(text: str) -> tuple[TaId, int | None]:
    try:
        if "-" in text:
            return split_rcpt_id(text)
        if not is_id(text):
            raise ValueError(f"not a transaction id: {text!r}")
    except ValueError as error:
        raise CommandError(f"{error}; qmgrctl queue lists the ids") from error
    return TaId(text), None


def _advance(db: DefeDb, wanted: Callable[[RcptRecord], bool], now: float) -> int:
    """Sets the next try of the wanted recipients to now.  Blocks: yes (disk)."""
    count, after = 0, None
    while found := db.scan(after, LIST_MAX):
        changed = [replace(rcpt, next_try=now) for rcpt in found if rcpt.next_try > now and wanted(rcpt)]
        if changed:
            db.store((), changed, ())
        count += len(changed)
        after = rcpt_id(found[-1].ta_id, found[-1].rcpt_idx)
    return count
