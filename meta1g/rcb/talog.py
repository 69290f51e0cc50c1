"""What of a transaction stands in the log as text, so that it can be made again from there.

    by=2026-11-27T10:00:00Z;R   priority=4   traits=smtputf8 requiretls

Pure.  Ref: docs/repair.md; RFC 2852, RFC 6710, RFC 6531, RFC 8689.
"""

from datetime import UTC, datetime
from typing import Any, Final

from meta1g.base.clock import rfc3339
from meta1g.rcb.envelope import TaRecord

#: Facts that are true or not, by their names in the record.
TRAITS: Final = ("smtputf8", "requiretls", "automatic", "tls_optional")
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


def ta_facts(ta: TaRecord) -> dict[str, Any]:
    """Gives keys and values for the log; None where there is nothing to be said."""
    return {
        "by": f"{rfc3339(ta.by)};{ta.by_mode}" if ta.by_mode is not None else None,
        "priority": ta.priority or None,
        "traits": " ".join(name for name in TRAITS if getattr(ta, name)) or None,
    }


def facts_of_log(by: str, priority: str, traits: str) -> dict[str, Any]:
    """Gives the facts back, as arguments of TaRecord.

    Args:
        by: as above; empty for none.
        priority: a number; empty for 0.
        traits: words of TRAITS; others mean nothing.

    Raises:
        ValueError: one is none of ours.
    """
    found: dict[str, Any] = {name: name in traits.split() for name in TRAITS}
    if by:
        time, _, mode = by.partition(";")
        found |= {"by": datetime.strptime(time, _TIME).replace(tzinfo=UTC).timestamp(), "by_mode": mode}
    return {**found, "priority": int(priority or 0)}
