"""Time stamps at the beginning of log lines: those that the log writes, those of syslog and journald, seconds since the epoch.

    2026-11-27T04:55:45.123456Z         the log itself
    2026-11-27T05:55:45.123456+01:00    syslog and journald (`journalctl -o short-iso`)
    2026-11-27 05:55:45.123456 +0100    what log2time prints for people
    Nov 27 05:55:45                     syslog of old: local time, and the year has to be guessed
    1795755345.123456                   seconds since the epoch

Pure but for the time zone of the machine.  Ref: RFC 3339; RFC 3164 4.1.2; RFC 5424 6.2.3.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

#: A stamp, wherever a line begins.
STAMP: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z| ?[+-]\d\d:?\d\d)"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    r"|\d{9,11}(?:\.\d{1,9})?(?![\d:-])",
    re.ASCII,
)
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?:(Z)| ?([+-])(\d\d):?(\d\d))", re.ASCII
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY_S: Final = 86_400
_MICROSECONDS: Final = 1_000_000


def parse_stamp(text: str, now: float, zone: tzinfo | None = None) -> float:
    """Gives seconds since the epoch.

    Args:
        text: a stamp as STAMP finds it.
        now: a stamp without year is not later than a day after this, and not earlier than a year before that.
        zone: of a stamp without one; that of the machine if None.

    Raises:
        ValueError: it is none, or there is no such time.
    """
    found = _ISO.fullmatch(text)
    if found is not None:
        return _iso(found)
    if text[:3] in _MONTHS:
        return _of_old(text, now, zone)
    if STAMP.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no time stamp of a log")
    return float(text)


def _iso(found: re.Match[str]) -> float:
    *words, fraction, zulu, sign, hours, minutes = found.groups()
    offset = timedelta(0) if zulu else timedelta(hours=int(hours), minutes=int(minutes))
    zone = timezone(-offset if sign == "-" else offset)
    year, month, day, hour, minute, second = map(int, words)
    whole = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone) - _EPOCH  # 60 is a leap second
    seconds = whole.days * _DAY_S + whole.seconds + max(0, second - 59)
    return seconds + int((fraction or "0").ljust(9, "0")) / 1e9


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _of_old(text: str, now: float, zone: tzinfo | None) -> float:
    month = _MONTHS.index(text[:3]) + 1
    day, hour, minute, second = int(text[4:6]), *map(int, text[7:].split(":"))
    latest = now + _DAY_S
    year = datetime.fromtimestamp(latest, UTC).year
    for guess in (year, year - 1, year - 2, year - 3, year - 4):  # as far as the last 29 February
        try:
            when = datetime(guess, month, day, hour, minute, min(second, 59), tzinfo=zone).timestamp()
        except ValueError:
            continue
        if when <= latest:
            return when
    raise ValueError(f"{text!r}: there is no such day")


def utc_text(when: float) -> str:
    """Gives a stamp as the log writes it, such as `2026-11-27T04:55:45.123456Z`."""
    return _exact(when).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def epoch_text(when: float) -> str:
    """Gives seconds since the epoch with six digits."""
    return f"{when:.6f}"


def local_text(when: float, zone: tzinfo | None = None) -> str:
    """Gives a stamp for people in a time zone, that of the machine if None, such as `2026-11-27 05:55:45.123456 +0100`."""
    return _exact(when).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S.%f %z")


def _exact(when: float) -> datetime:
    return _EPOCH + timedelta(microseconds=round(when * _MICROSECONDS))
