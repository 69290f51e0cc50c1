"""Times and sizes with units: `5m3s` and `10KB`, read and written.

Ref: meta1.conf(5), values of time options (`5m3s`, `6m`, bare seconds).
"""

import re
from typing import Final

_TIME_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE_UNITS_BYTES: Final = {
    "": 1,
    "b": 1,
    "kb": 1 << 10,
    "k": 1 << 10,
    "mb": 1 << 20,
    "m": 1 << 20,
    "gb": 1 << 30,
    "g": 1 << 30,
}
_TIME: Final = re.compile(r"(\d+[smhdw])+", re.ASCII)
_TIME_PART: Final = re.compile(r"(\d+)([smhdw])", re.ASCII)
_SIZE: Final = re.compile(r"(\d+)([a-z]*)", re.ASCII)


def parse_time_s(text: str) -> int:
    """Reads a time: digits with units s, m, h, d, w, combined (`5m3s`), or bare seconds.

    Returns:
        Seconds, 0 or more.

    Raises:
        ValueError: text is no time.
    """
    lowered = text.strip().lower()
    if lowered.isascii() and lowered.isdigit():
        return int(lowered)
    if not _TIME.fullmatch(lowered):
        raise ValueError(f"{text!r} is not a time; write seconds or numbers with s, m, h, d, w such as 5m3s")
    return sum(int(number) * _TIME_UNITS_S[unit] for number, unit in _TIME_PART.findall(lowered))


def format_time_s(seconds: int) -> str:
    """Writes seconds in the shortest combination of units; parse_time_s reads it back."""
    if seconds == 0:
        return "0s"
    parts = []
    for unit in ("w", "d", "h", "m", "s"):
        count, seconds = divmod(seconds, _TIME_UNITS_S[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_size_bytes(text: str) -> int:
    """Reads a size: digits with an optional unit B, KB, MB, GB (powers of 1024).

    Returns:
        Bytes, 0 or more.

    Raises:
        ValueError: text is no size.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if not match or match[2] not in _SIZE_UNITS_BYTES:
        raise ValueError(f"{text!r} is not a size; write bytes or a number with B, KB, MB, GB")
    return int(match[1]) * _SIZE_UNITS_BYTES[match[2]]


def format_size_bytes(size_bytes: int) -> str:
    """Writes a size with the largest unit that divides it; parse_size_bytes reads it back."""
    for unit in ("gb", "mb", "kb"):
        if size_bytes and size_bytes % _SIZE_UNITS_BYTES[unit] == 0:
            return f"{size_bytes // _SIZE_UNITS_BYTES[unit]}{unit.upper()}"
    return str(size_bytes)
