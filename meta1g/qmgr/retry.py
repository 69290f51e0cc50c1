"""When a recipient is tried again, given up, or its sender warned.

Pure.  Ref: MeTA1 design, "Implementation: QMGR, retry times" (modelled on); RFC 5321 4.5.4.1; RFC 3461 5.2 (NOTIFY);
RFC 2852 4 (DELIVERBY).
"""

import math
from typing import Final
from zlib import crc32

from meta1g.qmgr.destinations import COMMON, DestinationLimits
from meta1g.qmgr.settings import Settings
from meta1g.rcb.envelope import RcptFlags, RcptRecord, TaRecord

_JITTER: Final = 0.1
_REPORTS: Final = int(
    RcptFlags.IS_BNC
    | RcptFlags.IS_DBNC
    | RcptFlags.IS_DLY
    | RcptFlags.IS_RELAYED
    | RcptFlags.IS_DELIVERED
    | RcptFlags.IS_EXPANDED
)


def next_try(rcpt: RcptRecord, now: float, settings: Settings, own: DestinationLimits = COMMON) -> float:
    """Gives the time of the next attempt: the time in the queue so far, within the bounds, give or take 10 %.

    Messages that are deferred together do not come back together, but the recipients of one do, to travel together again: the
    jitter is that of the transaction, and the time is in whole seconds.

    Args:
        rcpt: the recipient.
        now: the time now, seconds since the epoch.
        settings: bounds.
        own: what its destination has of its own.
    """
    low_s, high_s = own.retry_bounds(settings.min_retry_delay_s, settings.max_retry_delay_s)
    delay_s = min(max(now - rcpt.entered, low_s), high_s)
    return float(math.ceil(now + delay_s * (1 + _JITTER * _spread(rcpt))))


def _spread(rcpt: RcptRecord) -> float:
    """Gives a number from -1 to 1 that looks random and is the same for all recipients of a transaction."""
    return crc32(f"{rcpt.ta_id} {rcpt.tries}".encode()) / 0x7FFFFFFF - 1


def as_stored(when: float) -> float:
    """Gives a time as DEFEDB stores it, in whole microseconds, so that both order it alike."""
    return round(when * 1_000_000) / 1_000_000


def expired(rcpt: RcptRecord, now: float, settings: Settings) -> bool:
    """Tells whether a recipient is too old to be tried again; a report is as old as itself, not as what it is about."""
    return now - rcpt.entered >= settings.return_timeout_s


def is_late(ta: TaRecord, rcpt: RcptRecord, now: float) -> bool:
    """Tells whether the time for delivery of a recipient is over (RFC 2852); it never is if that does not matter."""
    return ta.by_mode is not None and now >= ta.by and not rcpt.flags & RcptFlags.LIST and not is_report(rcpt)


def returns_late(ta: TaRecord, rcpt: RcptRecord, now: float) -> bool:
    """Tells whether a recipient is to be returned, since its time for delivery is over."""
    return is_late(ta, rcpt, now) and (ta.by_mode or "").startswith("R")


def in_time(ta: TaRecord, rcpt: RcptRecord, when: float, now: float) -> float:
    """Gives the time of the next attempt, no later than the time for delivery if there is one that has not come."""
    if ta.by_mode is None or ta.by <= now or is_report(rcpt):
        return when
    return min(when, float(math.ceil(ta.by)))


def is_report(rcpt: RcptRecord) -> bool:
    """Tells whether the recipient gets a DSN, whose content is made from `failed`."""
    return bool(rcpt.flags & _REPORTS)


def wants(rcpt: RcptRecord, condition: str) -> bool:
    """Tells whether the sender wants a DSN about a recipient; without NOTIFY failures and delays are told.

    Args:
        rcpt: the recipient.
        condition: `FAILURE`, `DELAY` or `SUCCESS`.
    """
    if rcpt.notify is None:
        return condition != "SUCCESS"
    return condition in rcpt.notify.upper().split(",")


def delay_warning_due(ta: TaRecord, rcpt: RcptRecord, now: float, settings: Settings) -> bool:
    """Tells whether the sender is to be warned of the delay now; that happens once.

    Who has set a time for delivery hears when it is over, whatever the settings (RFC 2852 4).
    """
    too_long = settings.dsn_delay and settings.delay_dsn_timeout_s > 0 and now - ta.entered >= settings.delay_dsn_timeout_s
    return (
        (too_long or is_late(ta, rcpt, now))
        and not rcpt.flags & RcptFlags.DLY_SENT
        and not is_report(rcpt)
        and wants(rcpt, "DELAY")
    )
