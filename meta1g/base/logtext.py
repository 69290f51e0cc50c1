"""The text of a log line: comma-separated `key=value`, ids first, or one JSON object.

Every value passes the sanitizer here (invariant I5): no byte of the network starts a new line or a new key.  What has been made
printable before keeps its form: nothing is escaped twice.  Numbers with a fraction have three digits behind the point.

Pure.  Ref: MeTA1 design, "Implementation: Logging" (form modelled on MeTA1's lines); RFC 8259.
"""

import re
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import Final

from meta1g.base.logkeys import LOG_KEYS, Sev

LogValue = str | bytes | int | float | None

_KEY_ORDER: Final = {key: number for number, key in enumerate(LOG_KEYS)}
_VALUE_MAX_CHARS: Final = 1024
_UNSAFE: Final = re.compile(r"[^ -~]|[,\\]")
#: The same for a text that may have been made printable before: its escapes stay as they are.
_UNSAFE_STAT: Final = re.compile(r"[^ -~]|,|\\(?!x[0-9A-F]{2})")
_NO_CHARACTER: Final = re.compile("[\ud800-\udfff]")
_STATS: Final[dict[Sev, str]] = {sevr: f"sevr={sevr.name}, func=" for sevr in Sev}
#: Combinations of keys in the order in which they are written, each with what stands in front of its value: as many as there
#: are different calls.
_orders: Final[dict[tuple[str, ...], tuple[tuple[str, str], ...]]] = {}


def sanitize(value: LogValue) -> str:
    """Turns a value into printable ASCII without comma, at most 1024 characters (invariant I5).

    A backslash stands only before `xNN`, the number of a byte, and for itself stands such a number.
    """
    if isinstance(value, str) and _is_plain(value):
        return value
    return _UNSAFE.sub(_escape, _text(value))


def sanitize_stat(stat: str) -> str:
    """Does the same with a text that may have been made printable before: nothing is escaped twice."""
    return stat if _is_plain(stat) else _UNSAFE_STAT.sub(_escape, _text(stat))


def _is_plain(text: str) -> bool:
    """Tells whether sanitize() leaves a text as it is; much faster than to search for _UNSAFE."""
    return text.isascii() and text.isprintable() and "," not in text and "\\" not in text and len(text) <= _VALUE_MAX_CHARS


def _text(value: LogValue) -> str:
    """Gives a value as text of a bounded length."""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
    return text if len(text) <= _VALUE_MAX_CHARS else text[:_VALUE_MAX_CHARS] + "..."


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    how = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"  # a byte of a file name, or half a character
    return "".join(f"\\x{byte:02X}" for byte in char.encode("utf-8", how))


def _ordered(keys: dict[str, LogValue]) -> tuple[tuple[str, str], ...]:
    """Gives the keys, and `, key=` of each, in the order of the registry; each combination that a call uses is sorted once.

    Raises:
        KeyError: a key is not in the registry.
    """
    given = tuple(keys)
    order = _orders.get(given)
    if order is None:
        order = _orders[given] = tuple((key, f", {key}=") for key in sorted(given, key=_KEY_ORDER.__getitem__))
    return order


def format_classic(sevr: Sev, event: str, stat: str, keys: dict[str, LogValue]) -> str:
    """Gives `sevr=INFO, func=event, ss_sess=..., stat=...`."""
    parts = [_STATS[sevr], event]
    for key, lead in _ordered(keys):
        value = keys[key]
        if value is not None:
            parts.append(lead)
            parts.append(str(value) if value.__class__ is int else sanitize(value))
    parts.append(", stat=")
    parts.append(sanitize_stat(stat))
    return "".join(parts)


def format_json(sevr: Sev, event: str, stat: str, keys: dict[str, LogValue]) -> str:
    """Gives the same facts as members of a JSON object, without its braces; texts are as they are, not sanitized.

    What JSON cannot have, a byte that is no character, stands as `xNN` behind a backslash.
    """
    line = f'"event": "{event}", "sevr": "{sevr.name}"'
    for key, _lead in _ordered(keys):
        value = keys[key]
        if value is not None:
            line += f', "{key}": {value if value.__class__ is int else _json(value)}'
    return f'{line}, "stat": {_json(stat)}'


def _json(value: LogValue) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = _text(value)
    return encode_basestring_ascii(text if text.isascii() else _NO_CHARACTER.sub(_escape, text))


FORMATS: Final[dict[str, Callable[[Sev, str, str, dict[str, LogValue]], str]]] = {
    "classic": format_classic,
    "json": format_json,
}
