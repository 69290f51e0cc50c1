"""Recipients of reports: who is told of failures and delays, and what is kept for the report.

A report is one more recipient of the transaction that it is about.  A failed report becomes a double bounce to the
postmaster; a failed double bounce, or a failed warning, is the end.

Pure.  Ref: RFC 3461 5.2, 6; RFC 5321 4.5.5 (null reverse-path); MeTA1 design, "Functional Specification: DSN" (bounce
recipients modelled on).
"""

from collections.abc import Callable, Sequence

from meta1g.db.aq_types import AqRcpt, AqTa
from meta1g.qmgr.limits import BOUNCE_RCPTS_MAX, STATUS_TEXT_MAX_CHARS
from meta1g.qmgr.outcome import Outcome
from meta1g.qmgr.retry import is_report, wants
from meta1g.qmgr.settings import Settings
from meta1g.rcb.envelope import DsnRcpt, RcptFlags, RcptRecord


def report_of(record: RcptRecord, outcome: Outcome, now: float) -> DsnRcpt:
    """Gives what a report says about a recipient."""
    return DsnRcpt(
        rcpt=record.rcpt,
        orcpt=record.orcpt,
        reply=outcome.reply.cut(STATUS_TEXT_MAX_CHARS),
        last_try=now,
    )


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
            wanted.setdefault(target, []).append(report)
    return [
        _record(ta, next_idx(), to, flag, reports[first : first + BOUNCE_RCPTS_MAX], now)
        for (to, flag), reports in wanted.items()
        for first in range(0, len(reports), BOUNCE_RCPTS_MAX)
    ]


def _target(rcpt: AqRcpt, settings: Settings) -> tuple[str, int] | None:
    """Gives the address that hears of a failed recipient, and the kind of the report; None if nobody does."""
    flags = rcpt.record.flags
    if flags & RcptFlags.IS_BNC and not settings.dsn_double_bounce:
        return None
    if flags & RcptFlags.IS_BNC:
        return _with_domain(settings.double_bounce_address, settings.hostname), int(RcptFlags.IS_DBNC)
    if is_report(rcpt.record) or not rcpt.sender or not wants(rcpt.record, "FAILURE"):
        return None
    return rcpt.sender, int(RcptFlags.IS_BNC)


def _with_domain(address: str, hostname: str) -> str:
    return address if "@" in address else f"{address}@{hostname}"


def delay_record(rcpt: AqRcpt, rcpt_idx: int, outcome: Outcome, now: float) -> RcptRecord:
    """Gives the recipient of a warning that a message is delayed."""
    return _record(rcpt.ta, rcpt_idx, rcpt.sender, int(RcptFlags.IS_DLY), [report_of(rcpt.record, outcome, now)], now)


def success_record(rcpt: AqRcpt, rcpt_idx: Callable[[], int], outcome: Outcome, now: float) -> RcptRecord | None:
    """Gives the recipient of a report that a message was relayed, or None if nobody asked for one.

    A server that knows DSN makes its own (RFC 3461 5.2.2).
    """
    record = rcpt.record
    if outcome.dsn or not rcpt.sender or is_report(record) or not wants(record, "SUCCESS"):
        return None
    return _record(rcpt.ta, rcpt_idx(), rcpt.sender, int(RcptFlags.IS_RELAYED), [report_of(record, outcome, now)], now)


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
