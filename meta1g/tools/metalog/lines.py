"""Lines of the log, as facts: both formats, under every head that a file, syslog or journald gives them.

    2026-11-27T04:55:45.123456Z smtps[123]: sevr=INFO, func=smtps.rcpt, ss_ta=S0..., rcpt=a@b.example, stat=ok
    {"time": "2026-11-27T04:55:45.123456Z", "host": "mx1", "process": "smtps", "process_id": 123, "event": "smtps.rcpt", ...}
    Nov 27 05:55:45 mx1 smtps[123]: sevr=INFO, ...
    <22>1 2026-11-27T04:55:45.123456Z mx1 smtps 123 smtps.rcpt - {"time": ...}

What does not look like a line of this gateway is foreign; what does and cannot be read is damaged (a disk was full, a process
was killed).  Neither is an error: both are counted.

Pure.  Ref: base/logtext.py (the formats); docs/metalog.md.
"""

import json
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.tools.metalog.stamps import STAMP, parse_stamp

#: Priority, and the version of RFC 5424.
_HEAD: Final = re.compile(r"(?:<\d{1,3}>(?P<version>\d{1,2} )?)?", re.ASCII)
#: After the stamp: a host if syslog wrote it, the process, its number.
_WHO: Final = re.compile(r" (?:(?P<host>[^\s\[\]]+) )?(?P<module>[^\s\[\]:]+)(?:\[(?P<pid>\d+)\])?: ", re.ASCII)
#: RFC 5424: host, process, number, message id, structured data.
_WHO_5424: Final = re.compile(r" (?P<host>\S+) (?P<module>\S+) (?P<pid>\S+) \S+ (?:-|(?:\[(?:\\.|[^\]\\])*+\])++) ", re.ASCII)
_ESCAPED: Final = re.compile(r"(?:\\x[0-9A-F]{2})+", re.ASCII)
#: More digits than any number of the log has.
_DIGITS_MAX: Final = 18
#: How an object begins, and what it has at least.
_OURS: Final = '{"time": "'
_HEADS: Final = ("time", "host", "process", "process_id", "event", "sevr", "stat")
#: The end of a line that was cut in an escape.
_CUT: Final = re.compile(r"\\(?:x[0-9A-F]?)?$", re.ASCII)


class Unread(Enum):
    """Why a line is none."""

    FOREIGN = auto()  # somebody else's
    DAMAGED = auto()  # ours, and cut or overwritten


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line.

    Args:
        when: seconds since the epoch.
        module: process, such as `smtps`.
        pid: its number, 0 if the line does not say.
        host: machine, empty if the line does not say.
        sevr: severity.
        func: the event.
        stat: the outcome.
        keys: the other facts, as texts with escapes undone.
        raw: the line as it stands in the file.
    """

    when: float
    module: str
    pid: int
    host: str
    sevr: str
    func: str
    stat: str
    keys: Mapping[str, str]
    raw: str

    def get(self, key: str) -> str:
        """Gives a fact, empty if the line has none."""
        return self.keys.get(key, "")

    def number(self, key: str) -> int:
        """Gives a whole number, 0 if the line has none there."""
        return _number(self.keys.get(key))

    def milliseconds(self, key: str) -> float:
        """Gives a time, -1 if the line has none there."""
        whole, _, fraction = self.get(key).partition(".")
        return float(f"{whole}.{fraction or 0}") if _is_number(whole) and (not fraction or _is_number(fraction)) else -1.0


def unescape(value: str) -> str:
    r"""Undoes what base.log.sanitize() did: `\x2C` is a comma; bytes that are no UTF-8 become surrogates."""
    if "\\" not in value:
        return value
    return _ESCAPED.sub(lambda found: bytes.fromhex(found[0].replace("\\x", "")).decode("utf-8", "surrogateescape"), value)


def parse_line(raw: str, now: float) -> LogLine | Unread:
    """Reads one line.

    Args:
        raw: the line without its end.
        now: the year of a stamp without one is taken from here.
    """
    if raw.startswith("{"):
        return _object(raw, raw)
    head = _HEAD.match(raw)
    at = head.end() if head else 0
    stamp = STAMP.match(raw, at)
    if stamp is None:
        return Unread.FOREIGN
    who = (_WHO_5424 if head and head["version"] else _WHO).match(raw, stamp.end())
    text = raw[who.end() :].removeprefix("\ufeff") if who else ""
    if text.startswith("{"):
        return _object(text, raw)
    if who is None or not text.startswith("sevr="):
        return Unread.FOREIGN
    facts = _pairs(text)
    if facts is None or not {"sevr", "func", "stat"} <= facts.keys():
        return Unread.DAMAGED
    try:
        when = parse_stamp(stamp[0], now)
    except ValueError:
        return Unread.DAMAGED
    sevr, func, stat = (facts.pop(key) for key in ("sevr", "func", "stat"))
    return LogLine(when, who["module"], _number(who["pid"]), who["host"] or "", sevr, func, stat, facts, raw)


def _pairs(text: str) -> dict[str, str] | None:
    if _CUT.search(text):
        return None
    facts = {}
    for word in text.removesuffix("\r").split(", "):
        key, equals, value = word.partition("=")
        if not equals:
            return None
        facts[key] = unescape(value)
    return facts


def _number(text: str | None) -> int:
    return int(text) if text and _is_number(text) else 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


def _object(text: str, raw: str) -> LogLine | Unread:
    """Reads an object; what begins as one of ours is damaged if it is none."""
    try:
        found = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return Unread.DAMAGED if text.startswith(_OURS) else Unread.FOREIGN
    if not isinstance(found, dict) or not found.keys() >= set(_HEADS):
        return Unread.FOREIGN
    facts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items()}
    stamp, host, module, pid, func, sevr, stat = (facts.pop(key) for key in _HEADS)
    try:
        when = parse_stamp(stamp, 0.0)
    except ValueError:
        return Unread.DAMAGED
    return LogLine(when, module, _number(pid), host, sevr, func, stat, facts, raw)
