"""Times as people and programs read them: RFC 3339, UTC.

Pure.  Ref: RFC 3339; docs/json.md.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from meta1g.base.clock import rfc3339

#: Later than any time that means something: what is held is never tried.
_NEVER_S: Final = 4_102_444_800.0  # 2100-01-01
#: Fields that are times, in any row.
_TIMES: Final = frozenset(("entered", "by", "next_try", "last_try", "started", "since", "mode_since", "first", "last"))
#: Texts that are kept: recipients of a list that follow each other often have the same times.
_KEPT: Final = 1000
_text: Final = lru_cache(maxsize=_KEPT)(rfc3339)


def time_text(when: float) -> str | None:
    """Gives a time such as `2026-11-27T00:42:46Z`; None for one that is not set or means never.

    Args:
        when: seconds since the epoch.
    """
    if not 0.0 < when < _NEVER_S:
        return None
    return _text(int(when))


def with_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """Gives a row with its times as texts; rows inside of it, too."""
    return {key: _value(key, value) if key in _TIMES or value.__class__ is list else value for key, value in row.items()}


def _value(key: str, value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [with_times(one) for one in value]
    return time_text(value) if isinstance(value, float | int) and key in _TIMES else value
