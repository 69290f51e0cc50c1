"""Stored times, bounded when they are read: the clock may have been wrong when they were written.

    next_try                 later than a retry can be: the recipient is due now; held ones keep theirs
    entered, tries           in the future, or, for the former, before this program was written: now

A clock that was ahead once must not keep mail for weeks, nor keep it from expiring; one that was far behind, as that of a
machine without a battery is at its start, must not make mail old.  What was bounded is stored with the next change of the
recipient.

Pure.  Ref: our choice.  Every reader of stored times comes here: recovery.py, qmgr/feeder.py, wrong_clock.py, orphans.py.
"""

from dataclasses import replace
from typing import Final

from meta1g.rcb.envelope import RcptFlags, RcptRecord, TaRecord

#: No mail has been accepted before: 2020-01-01.
_EPOCH_S: Final = 1_577_836_800.0
#: A retry has a jitter of a tenth, and whole seconds.
_JITTER: Final = 1.1
#: A file that was changed by so much in the future was changed by another clock, seconds.
_FUTURE_S: Final = 60.0


def latest_try(now: float, max_delay_s: float) -> float:
    """Gives the latest time that a next try can have, seconds since the epoch.

    Args:
        now: the time now.
        max_delay_s: max_retry_delay.
    """
    return now + max_delay_s * _JITTER + 1


def bounded(rcpt: RcptRecord, now: float, max_delay_s: float) -> RcptRecord:
    """Gives a recipient with times that can be; mostly the same one.

    Args:
        rcpt: as it was stored.
        now: seconds since the epoch.
        max_delay_s: max_retry_delay.
    """
    far = rcpt.next_try > latest_try(now, max_delay_s) and not rcpt.flags & RcptFlags.HOLD
    entered, last_try = _past(rcpt.entered, now), min(rcpt.last_try, now)
    told = any(one.last_try > now for one in rcpt.failed) or any(one.last > now for one in rcpt.attempts)
    if (entered, last_try) == (rcpt.entered, rcpt.last_try) and not far and not told:
        return rcpt
    return replace(
        rcpt,
        entered=entered,
        last_try=last_try,
        next_try=now if far else rcpt.next_try,
        failed=tuple(replace(one, last_try=min(one.last_try, now)) for one in rcpt.failed),
        attempts=tuple(replace(one, first=min(one.first, now), last=min(one.last, now)) for one in rcpt.attempts),
    )


def bounded_ta(ta: TaRecord, now: float) -> TaRecord:
    """Gives a transaction with a time that can be; mostly the same one."""
    entered = _past(ta.entered, now)
    return ta if entered == ta.entered else replace(ta, entered=entered)


def _past(when: float, now: float) -> float:
    return when if _EPOCH_S <= when <= now else now


def is_older(changed: float, now: float, age_s: float) -> bool:
    """Tells whether a file was changed longer ago than age_s; what changed in the future did so under another clock."""
    return changed <= now - age_s or changed > now + _FUTURE_S
