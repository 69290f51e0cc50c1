"""What the filters of all SMTPS did, for status: the figures of processes of one section are added.

Pure.  Ref: MeTA1 design, "Functional Specification: QMGR, control" (modelled on; the figures are our choice).
"""

from collections.abc import Iterable
from typing import Any, Final

from meta1g.rcb.smtps_qmgr import FilterReport

DOWN: Final = "down"
_UP: Final = "up"
#: Which state of several processes counts, the first that one of them has.
_STATES: Final = (DOWN, _UP)
_SUMS: Final = ("sessions", "messages", "refused", "discarded", "changed", "answers")
_US_OF_MS: Final = 1000


def filter_rows(reports: Iterable[tuple[str, FilterReport]]) -> list[dict[str, Any]]:
    """Gives one row for each filter of each section.

    Args:
        reports: name of the section, and the report of one of its processes.

    Returns:
        Rows with the section as `smtps`, the filter as `milter NAME` or `policy_milter NAME`, its state since when, sums since
        the processes began, failures by kind, and the mean and the worst time of an answer in ms.
    """
    groups: dict[tuple[str, str, str], list[FilterReport]] = {}
    for section, report in reports:
        groups.setdefault((section, report.kind, report.name), []).append(report)
    return [_row(section, f"{kind} {name}".strip(), group) for (section, kind, name), group in sorted(groups.items())]


def _row(section: str, name: str, group: list[FilterReport]) -> dict[str, Any]:
    state = next((one for one in _STATES if any(report.state == one for report in group)), "unknown")
    sums = {key: sum(getattr(report, key) for report in group) for key in _SUMS}
    total_us = sum(report.answers_us for report in group)
    faults: dict[str, int] = {}
    for report in group:
        for one in report.faults:
            faults[one.fault] = faults.get(one.fault, 0) + one.count
    return {
        "smtps": section,
        "filter": name,
        "state": state,
        "since": min(report.since for report in group if state in (report.state, "unknown")),
        **sums,
        "failures": faults,
        "mean_ms": round(total_us / sums["answers"] / _US_OF_MS, 3) if sums["answers"] else 0.0,
        "worst_ms": round(max(report.worst_us for report in group) / _US_OF_MS, 3),
    }


def filter_troubles(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Gives one text for each filter that is not there."""
    return [
        f"{' '.join(('smtps', row['smtps'])).strip()}: {row['filter']} is down; see smtps.milter_failed in the log"
        for row in rows
        if row["state"] == DOWN
    ]
