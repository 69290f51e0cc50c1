"""Recipients of reports: who is told of what, and what is kept for the report.

    what happened                      who hears of it                                   flag
    failed                             the sender                                        IS_BNC
    a report failed, or a message      double_bounce_address                             IS_DBNC
      that no report may answer
    not delivered yet                  the sender, once                                  IS_DLY
    taken by a server without DSN      the sender, if it wants to hear of success, or
                                         has set a time that the server does not know    IS_RELAYED
    taken by LMTP, or by a list        the same                                          IS_DELIVERED
    replaced by several addresses      the same                                          IS_EXPANDED

A report is one more recipient of the transaction that it is about.  No report is ever sent for a report: a failed bounce
becomes a double bounce, and the failure of that, or of any other report, is the end.

Pure.  Ref: RFC 3461 5.2, 6; RFC 2852 4; RFC 5321 4.5.5 (null reverse-path); RFC 3834 2 (automatic replies); MeTA1 design,
"Functional Specification: DSN" (bounce recipients modelled on).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from meta1g.base.reply import Reply
from meta1g.db.aq_types import AqRcpt, AqTa, Home, RcptState
from meta1g.qmgr.limits import BOUNCE_RCPTS_MAX, STATUS_TEXT_MAX_CHARS, WARNING_RCPTS_MAX
from meta1g.qmgr.outcome import Outcome
from meta1g.qmgr.retry import is_report, wants
from meta1g.qmgr.settings import Settings
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.envelope import DsnRcpt, RcptFlags, RcptRecord
from meta1g.smtp import verp, xtext

#: Local part of those who send reports, here and elsewhere.
_DAEMON: Final = "mailer-daemon"
#: Kinds of reports that may return the whole message.
_FULL_KINDS: Final = int(RcptFlags.IS_BNC | RcptFlags.IS_DBNC)
_NOT_TAKEN: Final = (RcptState.NEW, RcptState.SENT_TO_AR, RcptState.READY)
#: RFC 3463: message too big for the system, message length exceeds the limit of the mailbox.
_TOO_LARGE: Final = ("5.3.4", "5.2.3")
_TOO_LARGE_CODE: Final = 552


def report_of(record: RcptRecord, outcome: Outcome, now: float) -> DsnRcpt:
    """Gives what a report says about a recipient."""
    return DsnRcpt(
        rcpt=record.rcpt,
        orcpt=record.orcpt,
        reply=outcome.reply.cut(STATUS_TEXT_MAX_CHARS),
        last_try=now,
        expired=outcome.is_expired,
        orig_rcpt=record.orig_rcpt,
    )


def may_answer(rcpt: AqRcpt) -> bool:
    """Tells whether its sender may get a report about a recipient: the message is no report, nor anything like one.

    The owner of a list may, whatever was sent to the list.
    """
    sender, record = rcpt.sender, rcpt.record
    if not sender or is_report(record) or _is_daemon(sender):
        return False
    return not rcpt.ta.record.automatic or bool(record.flags & RcptFlags.LIST)


def _is_daemon(sender: str) -> bool:
    return sender.partition("@")[0].lower() == _DAEMON


# -- failures


def bounce_records(
    ta: AqTa, failed: Sequence[tuple[AqRcpt, DsnRcpt]], next_idx: Callable[[], int], settings: Settings, now: float
) -> list[RcptRecord]:
    """Gives the recipients of all reports about failures; none where the sender does not want or cannot get one.

    Args:
        ta: the transaction.
        failed: its failed recipients with what is to be said about them.
        next_idx: gives a new recipient index.
        settings: where double bounces go.
        now: seconds since the epoch.
    """
    wanted: dict[tuple[str, int], list[DsnRcpt]] = {}
    for rcpt, report in failed:
        target = _target(rcpt, settings)
        if target is not None:
            wanted.setdefault(target, []).extend((report, *rcpt.record.failed))
    return [
        _record(ta, next_idx(), to, flag, reports[first : first + BOUNCE_RCPTS_MAX], now)
        for (to, flag), reports in wanted.items()
        for first in range(0, len(reports), BOUNCE_RCPTS_MAX)
    ]


def _target(rcpt: AqRcpt, settings: Settings) -> tuple[str, int] | None:
    """Gives the address that hears of a failed recipient, and the kind of the report; None if nobody does."""
    record, is_bounce = rcpt.record, bool(rcpt.record.flags & RcptFlags.IS_BNC)
    if not is_bounce and (is_report(record) or not rcpt.sender or not wants(record, "FAILURE")):
        return None
    if may_answer(rcpt):
        return rcpt.sender, int(RcptFlags.IS_BNC) | record.flags & RcptFlags.LIST
    if not settings.dsn_double_bounce:
        return None
    return _with_domain(settings.double_bounce_address, settings.hostname), int(RcptFlags.IS_DBNC)


def _with_domain(address: str, hostname: str) -> str:
    return address if "@" in address else f"{address}@{hostname}"


def smaller(rcpt: AqRcpt, outcome: Outcome, next_idx: Callable[[], int], now: float) -> list[RcptRecord]:
    """Gives what takes the place of a report that its server finds too large: without the message, then in two halves.

    Args:
        rcpt: the recipient of a report.
        outcome: why it was refused.
        next_idx: gives a new recipient index.
        now: seconds since the epoch.

    Returns:
        Their recipients; none if it was refused for another reason, or cannot be made smaller.
    """
    record = rcpt.record
    code, ecode = outcome.reply.code, outcome.reply.ecode
    plain = code == _TOO_LARGE_CODE and ecode in ("", "5.0.0")
    if not record.failed or not (plain or ecode in _TOO_LARGE):
        return []
    if record.flags & _FULL_KINDS and not record.flags & RcptFlags.SHORT:
        return [replace(record, rcpt_idx=next_idx(), flags=record.flags | RcptFlags.SHORT, tries=0, next_try=now)]
    half = (len(record.failed) + 1) // 2
    parts = (record.failed[:half], record.failed[half:])
    return [replace(record, rcpt_idx=next_idx(), failed=part, tries=0, next_try=now) for part in parts] if parts[1] else []


# -- delay and success


def delay_record(rcpt: AqRcpt, rcpt_idx: int, outcome: Outcome, now: float) -> RcptRecord:
    """Gives the recipient of a warning that a message is delayed."""
    return _about(rcpt, rcpt_idx, RcptFlags.IS_DLY, outcome, now)


def can_join(warning: AqRcpt, rcpt: AqRcpt) -> bool:
    """Tells whether a recipient in AQ is a warning that can still tell of another recipient."""
    record = warning.record
    return (
        bool(record.flags & RcptFlags.IS_DLY)
        and warning.state in _NOT_TAKEN
        and warning.home is Home.DEFEDB
        and (record.rcpt, record.flags & RcptFlags.LIST) == (rcpt.sender, rcpt.record.flags & RcptFlags.LIST)
        and len(record.failed) < WARNING_RCPTS_MAX
    )


def success_kind(rcpt: AqRcpt, outcome: Outcome) -> int | None:
    """Gives the flags of the report that a message was relayed or delivered, or None if nobody asked for one.

    A server that knows DSN makes its own (RFC 3461 5.2.2); behind LMTP is a mailbox (RFC 2033 1).  Who has set a time for
    delivery hears where nobody watches it any more, or of each step (RFC 2852 4).
    """
    if (outcome.dsn or not _wants_success(rcpt)) and not _leaves_time(rcpt, outcome):
        return None
    flag = RcptFlags.IS_DELIVERED if rcpt.da == DeliveryAgent.LMTP else RcptFlags.IS_RELAYED
    return int(flag) | rcpt.record.flags & RcptFlags.LIST


def success_record(ta: AqTa, rcpt_idx: int, to: str, kind: int, reports: Sequence[DsnRcpt], now: float) -> RcptRecord:
    """Gives the recipient of a report about several recipients that ended together.

    Args:
        ta: the transaction.
        rcpt_idx: index of the report.
        to: who gets it.
        kind: that of success_kind().
        reports: what it says.
        now: seconds since the epoch.
    """
    return _record(ta, rcpt_idx, to, kind, reports, now)


def _leaves_time(rcpt: AqRcpt, outcome: Outcome) -> bool:
    """Tells whether a message with a time for delivery has gone to a server that does not know it, or is to be traced."""
    mode, record = rcpt.ta.record.by_mode, rcpt.record
    if mode is None or rcpt.da == DeliveryAgent.LMTP or record.flags & RcptFlags.LIST or record.notify == "NEVER":
        return False
    return (mode.endswith("T") or not outcome.by) and may_answer(rcpt)


def _wants_success(rcpt: AqRcpt) -> bool:
    return wants(rcpt.record, "SUCCESS") and may_answer(rcpt)


def _about(rcpt: AqRcpt, rcpt_idx: int, flag: RcptFlags, outcome: Outcome, now: float) -> RcptRecord:
    """Gives the recipient of a report about one recipient, to its sender."""
    flags = int(flag) | rcpt.record.flags & RcptFlags.LIST
    return _record(rcpt.ta, rcpt_idx, rcpt.sender, flags, [report_of(rcpt.record, outcome, now)], now)


def _record(ta: AqTa, rcpt_idx: int, to: str, flags: int, reports: Sequence[DsnRcpt], now: float) -> RcptRecord:
    return RcptRecord(
        ta_id=ta.ta_id,
        rcpt_idx=rcpt_idx,
        rcpt=to,
        notify="NEVER",
        sender="",
        entered=now,
        flags=flags,
        next_try=now,
        failed=tuple(reports),
    )


# -- aliases (RFC 3461 5.2.7)


def expansion_record(rcpt: AqRcpt, next_idx: Callable[[], int], owner: str | None, now: float) -> RcptRecord | None:
    """Gives the recipient of a report that an alias of several members was expanded, or None if nobody asked for one.

    A list with an owner is the end of the way of a message: it was delivered there.
    """
    if not _wants_success(rcpt):
        return None
    flag = RcptFlags.IS_EXPANDED if owner is None else RcptFlags.IS_DELIVERED
    done = Outcome(Reply(250, "2.1.5"))
    return _about(rcpt, next_idx(), flag, done, now)


def member_template(record: RcptRecord, owner: str | None, *, single: bool, now: float) -> RcptRecord:
    """Gives the record of the members of an alias, but for index and address.

    A list with an owner sends a message of its own: nothing of what the sender asked for holds for it.  Otherwise the members
    get what the alias had, but success is reported beyond an alias only if it has one member.

    Args:
        record: the alias.
        owner: envelope sender for its members, None to keep it.
        single: it has one member.
        now: seconds since the epoch.
    """
    common = replace(record, orig_rcpt=record.orig_rcpt or record.rcpt, flags=record.flags | RcptFlags.EXPANDED, next_try=now)
    if owner is not None:
        return replace(common, sender=owner, notify=None, orcpt=None, flags=common.flags | RcptFlags.LIST)
    notify = record.notify
    if notify is not None and not single:
        events = [event for event in notify.upper().split(",") if event != "SUCCESS"]
        notify = ",".join(events) or "NEVER"
    return replace(common, notify=notify, orcpt=record.orcpt or xtext.orcpt_of(record.rcpt))


def with_verp(record: RcptRecord, sender: str, settings: Settings) -> RcptRecord:
    """Gives the record of a recipient whose sender is to carry its address, if the configuration wants that of the sender."""
    delimiters = settings.verp.delimiters_for(sender)
    return replace(record, sender=verp.sender_for(sender, record.rcpt, delimiters)) if delimiters else record
