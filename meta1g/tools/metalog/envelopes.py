"""Envelopes made again from the log: what metaqueue import takes, for every transaction that is not finished.

What the log does not tell is taken as the usual: parameters of MAIL and RCPT that no line has, the checksum.  A member of an
alias that had no line of its own yet gets the next free index.

Pure.  Ref: tools/transfer.py (the format); MeTA1 rcvrenvfromlog (purpose modelled on).
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.ids import RCPT_IDX_MAX, is_id
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.rcb.envelope import HELD_UNTIL, DsnRcpt, RcptFlags, RcptRecord, TaRecord
from meta1g.rcb.jsonform import to_object
from meta1g.rcb.talog import facts_of_log
from meta1g.tools.metalog.cases import FINAL, Case, RcptCase, RcptFate, settle, take
from meta1g.tools.metalog.lines import LogLine
from meta1g.tools.metalog.stamps import parse_stamp
from meta1g.tools.transfer import FORMAT

#: Transactions that are remembered; of more, those that are finished are forgotten.
_REMEMBERED: Final = 20_000
_INDEX_DIGITS_MAX: Final = len(str(RCPT_IDX_MAX))
_MAIL_EVENTS: Final = ("smtps.", "qmgr.")


@dataclass(frozen=True, slots=True)
class RebuiltEnvelope:
    """One envelope, and what the log did not tell of it."""

    ta: TaRecord
    rcpts: tuple[RcptRecord, ...]
    doubts: tuple[str, ...]


class OpenTransactions:
    """What the log says of transactions; those that are finished are forgotten.  Owner: who reads."""

    def __init__(self) -> None:
        self._cases: OrderedDict[str, tuple[Case, list[LogLine]]] = OrderedDict()
        self._limit = _REMEMBERED

    def take(self, line: LogLine) -> None:
        """Takes the next line, in the order of time."""
        ta_id = line.get("ss_ta")
        if not is_id(ta_id) or not line.func.startswith(_MAIL_EVENTS):
            return
        found = self._cases.get(ta_id)
        if found is None:
            found = self._cases[ta_id] = Case(), []
            if len(self._cases) > self._limit:
                self._forget()
        case, accepted = found
        take(case, line, ta_id)
        if line.func in ("smtps.message", "qmgr.accept") and len(accepted) < 2:
            accepted.append(line)

    def _forget(self) -> None:
        """Forgets the finished ones of the older half; what is open stays, however many there are."""
        for ta_id in list(self._cases)[: len(self._cases) // 2]:
            case, accepted = self._cases[ta_id]
            if (case.accepted and case.is_over) or not (accepted or _may_come(case)):
                del self._cases[ta_id]
        self._limit = len(self._cases) + _REMEMBERED // 2

    def envelopes(self) -> Iterator[RebuiltEnvelope]:
        """Gives what is accepted and not finished, in the order of its ids."""
        for ta_id in sorted(self._cases):
            case, accepted = self._cases[ta_id]
            settle(case)
            if accepted and not case.is_over:
                rebuilt = rebuild(ta_id, case, accepted)
                if rebuilt.rcpts:
                    yield rebuilt


def _may_come(case: Case) -> bool:
    return any(one.fate is RcptFate.OFFERED for one in case.rcpts.values())


def rebuild(ta_id: str, case: Case, accepted: Sequence[LogLine]) -> RebuiltEnvelope:
    """Makes an envelope.

    Args:
        ta_id: the transaction.
        case: what its lines say; settled.
        accepted: the lines that say that it was accepted.
    """
    by_smtps = next((line for line in accepted if line.func == "smtps.message"), accepted[0])
    by_qmgr = next((line for line in accepted if line.func == "qmgr.accept"), accepted[0])  # after all joins
    entered = accepted[0].when
    doubts: list[str] = []
    rcpts = list(_records(ta_id, case, entered, doubts))
    missing = by_qmgr.number("rcpts") - len([one for one in case.rcpts.values() if not one.report and not one.of])
    if missing > 0:
        doubts.append(f"{missing} recipients are in no line")
    try:
        facts = facts_of_log(*(by_qmgr.get(key) or "" for key in ("by", "priority", "traits")))
    except ValueError as error:
        facts = {}
        doubts.append(f"by, priority or traits of its line are none: {error}")
    facts["smtputf8"] = facts.get("smtputf8", False) or not _is_ascii(case)
    ta = TaRecord(
        ta_id=ta_id,
        cdb_id=ta_id,
        mail=case.mail or "",
        size_bytes=by_qmgr.number("size"),
        entered=entered,
        rcpts=len(rcpts),
        body=by_smtps.get("body") or None,
        ret=by_smtps.get("ret") or None,
        envid=by_smtps.get("envid") or None,
        **facts,
    )
    return RebuiltEnvelope(ta, tuple(rcpts), tuple(doubts))


def _index(key: str) -> int | None:
    """Gives the recipient index that a key of a case is, None if it is none."""
    whole = int(key) if key.isascii() and key.isdigit() and len(key) <= _INDEX_DIGITS_MAX else -1
    return whole if 0 <= whole <= RCPT_IDX_MAX else None


def _is_ascii(case: Case) -> bool:
    return (case.mail or "").isascii() and all(one.rcpt.isascii() for one in case.rcpts.values())


def _records(ta_id: str, case: Case, entered: float, doubts: list[str]) -> Iterator[RcptRecord]:
    used = {rcpt_idx for key in case.rcpts if (rcpt_idx := _index(key)) is not None}
    by_address = {one.rcpt: one for one in case.rcpts.values()}
    for key, one in case.rcpts.items():
        rcpt_idx = _index(key)
        if rcpt_idx is not None and one.fate not in FINAL:
            record = _record(ta_id, rcpt_idx, one, case, entered, by_address.get(one.of))
            if record is None:
                doubts.append(f"a report to {one.rcpt} cannot be made again: it is not known of whom")
            else:
                yield record
    for alias in [one for one in case.rcpts.values() if one.fate is RcptFate.EXPANDED]:
        silent = [member for member in alias.members if member not in by_address]
        for member in silent:
            used.add(max(used, default=-1) + 1)
            one = RcptCase(member, RcptFate.QUEUED, of=alias.rcpt)
            record = _record(ta_id, max(used), one, case, entered, alias)
            if record is not None:
                yield record
        if alias.count > len(alias.members):
            doubts.append(f"{alias.count - len(alias.members)} members of {alias.rcpt} are not named")


def _record(ta_id: str, rcpt_idx: int, one: RcptCase, case: Case, entered: float, alias: RcptCase | None) -> RcptRecord | None:
    if rcpt_idx > RCPT_IDX_MAX or (
        one.report and not all(each.fate is RcptFate.FAILED for each in one.about or [RcptCase("")])
    ):
        return None  # what else is reported than failures, the log does not tell in full
    flags, sender = 0, None
    first = one.first if alias is None else alias.first
    if one.report:
        flags |= (
            RcptFlags.IS_BNC if one.rcpt in {case.mail, *(each.owner for each in case.rcpts.values())} else RcptFlags.IS_DBNC
        )
        sender = ""
    if alias is not None:
        flags |= RcptFlags.EXPANDED | (RcptFlags.LIST if alias.owner else 0)
        sender = alias.owner or None
    held = one.fate is RcptFate.HELD
    plain = first is not None and not one.report and (alias is None or not alias.owner)
    return RcptRecord(
        ta_id=ta_id,
        rcpt_idx=rcpt_idx,
        rcpt=one.rcpt,
        notify="NEVER" if one.report else (first.get("notify") or None) if plain and first else None,
        orcpt=(first.get("orcpt") or None) if plain and first else None,
        orig_rcpt=one.of or None,
        sender=sender,
        flags=int(flags | (RcptFlags.HOLD if held else 0)),
        entered=entered,
        tries=one.tries,
        last_try=one.last.when if one.tries and one.last is not None else 0.0,
        next_try=HELD_UNTIL if held else _next_try(one, entered),
        reply=_reply(one.last) if one.fate is RcptFate.WAITS and one.last is not None else NO_REPLY,
        failed=tuple(_failed(each) for each in one.about),
    )


def _next_try(one: RcptCase, entered: float) -> float:
    text = one.last.get("next_try") if one.fate is RcptFate.WAITS and one.last is not None else ""
    try:
        return parse_stamp(text, entered)
    except ValueError:
        return entered


def _reply(line: LogLine) -> Reply:
    return Reply(line.number("reply"), line.get("ecode"), line.stat, line.get("relay"))


def _failed(one: RcptCase) -> DsnRcpt:
    line = one.last
    if line is None:
        return DsnRcpt(rcpt=one.rcpt, reply=NO_REPLY)
    expired = line.func == "qmgr.expired"
    return DsnRcpt(rcpt=one.rcpt, reply=_reply(line), last_try=line.when, expired=expired, orig_rcpt=one.of or None)


def as_lines(envelopes: Iterable[RebuiltEnvelope]) -> Iterator[str]:
    """Gives what metaqueue import reads; the contents stay where they are."""
    yield json.dumps({"meta1g_queue": FORMAT})
    total = 0
    for one in envelopes:
        total += 1
        yield json.dumps({"transaction": to_object(one.ta)})
        yield json.dumps({"recipients": [to_object(rcpt) for rcpt in one.rcpts]})
        yield json.dumps({"end": {"recipients": len(one.rcpts), "bytes": None}})
    yield json.dumps({"total": total})
