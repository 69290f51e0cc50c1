"""What is counted in one UTC day, for each domain that wants a report.

    meta1g-tlsrpt 1 CHECKSUM
    {"domain": "example.org", "sent": [], "counts": [{"policy": {...}, "good": 3, "bad": 1, "failures": [...]}]}

Pure.  Owner: whoever holds the lock of the collection.
Ref: RFC 8460 4; invariants I3, I4.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.tls.tlsrpt import PolicyType, ResultType, RptCount, RptFailure, RptPolicy

#: Domains of one day.  Our choice (invariant I4): those beyond get no report.
DOMAINS_MAX: Final = 5_000
#: Policies of one domain, and failures of one policy, that are told apart.  Our choice: what is beyond counts, without details.
POLICIES_MAX: Final = 8
FAILURES_MAX: Final = 50
#: Bytes of one day, about (invariant I4).  Our choice.
DAY_MAX_BYTES: Final = 16 * 1024 * 1024
_MAGIC: Final = b"meta1g-tlsrpt 1 "
_COST_BYTES: Final = 300


class DayError(ValueError):
    """The file of a day is damaged; the text says how."""


@dataclass(slots=True)
class _Count:
    """The counts of one policy.  Owner: its day."""

    good: int
    bad: int
    failures: dict[RptFailure, int]


@dataclass(slots=True)
class _Domain:
    """The counts of one domain, and who has its report already.  Owner: its day."""

    counts: dict[RptPolicy, _Count]
    sent: set[str]


class RptDay:
    """A day.

    Args:
        day: `YYYY-MM-DD`.

    Owner: whoever holds the lock of the collection.
    """

    __slots__ = ("_bytes", "_domains", "changed", "day")

    def __init__(self, day: str) -> None:
        self.day = day
        self.changed = False
        self._bytes = 0
        self._domains: dict[str, _Domain] = {}

    def __len__(self) -> int:
        return len(self._domains)

    def domains(self) -> tuple[str, ...]:
        """Gives all domains."""
        return tuple(self._domains)

    def add(self, policy: RptPolicy, failure: RptFailure | None) -> bool:
        """Counts a session.

        Args:
            policy: what it was held against.
            failure: what failed, None if nothing did.

        Returns:
            Whether there was room for it.
        """
        domain = self._domains.get(policy.domain)
        count = None if domain is None else domain.counts.get(policy)
        if count is None:
            full = domain is None and len(self._domains) >= DOMAINS_MAX
            many = domain is not None and len(domain.counts) >= POLICIES_MAX
            if full or many or not self._take(_size(*policy.lines, *policy.mx)):
                return False
            domain = self._domains.setdefault(policy.domain, _Domain({}, set()))
            count = domain.counts.setdefault(policy, _Count(0, 0, {}))
        self.changed = True
        if failure is None:
            count.good += 1
            return True
        count.bad += 1
        if failure in count.failures:
            count.failures[failure] += 1
        elif len(count.failures) < FAILURES_MAX and self._take(_size(failure.mx_host, failure.mx_helo, failure.reason)):
            count.failures[failure] = 1
        return True

    def _take(self, size_bytes: int) -> bool:
        if self._bytes + size_bytes > DAY_MAX_BYTES:
            return False
        self._bytes += size_bytes
        return True

    def counts(self, domain: str) -> tuple[RptCount, ...]:
        """Gives what was counted for a domain."""
        found = self._domains.get(domain)
        if found is None:
            return ()
        return tuple(RptCount(policy, one.good, one.bad, tuple(one.failures.items())) for policy, one in found.counts.items())

    def sent_to(self, domain: str) -> frozenset[str]:
        """Gives who has the report of a domain."""
        found = self._domains.get(domain)
        return frozenset() if found is None else frozenset(found.sent)

    def note_sent(self, domain: str, target: str) -> None:
        """Notes that somebody has the report of a domain."""
        if domain in self._domains:
            self._domains[domain].sent.add(target)
            self.changed = True

    def drop(self, domain: str) -> None:
        """Forgets a domain: its report is sent, or nobody wants it."""
        self.changed = self._domains.pop(domain, None) is not None or self.changed

    def lines(self) -> Iterator[bytes]:
        """Gives one line for each domain; between two of them the day may change."""
        for domain in self.domains():
            if domain in self._domains:
                counts = [_encoded(one) for one in self.counts(domain)]
                yield json.dumps({"domain": domain, "sent": sorted(self._domains[domain].sent), "counts": counts}).encode()


def content_of(lines: list[bytes]) -> bytes:
    """Gives the content of a file."""
    body = b"\n".join(lines)
    return b"%b%08x\n%b" % (_MAGIC, zlib.crc32(body), body)


def day_from(day: str, data: bytes) -> RptDay:
    """Reads the content of a file.

    Raises:
        DayError: it is damaged.
    """
    head, _, body = data.partition(b"\n")
    if head != b"%b%08x" % (_MAGIC, zlib.crc32(body)):
        raise DayError("the checksum is wrong")
    made = RptDay(day)
    try:
        for line in body.split(b"\n") if body else ():
            _read(made, json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DayError(f"the content is wrong: {error}") from error
    made.changed = False
    return made


def _encoded(count: RptCount) -> dict[str, Any]:
    failures = [{**asdict(failure), "count": sessions} for failure, sessions in count.failures]
    return {"policy": asdict(count.policy), "good": count.good, "bad": count.bad, "failures": failures}


def _read(made: RptDay, line: dict[str, Any]) -> None:
    for one in line["counts"]:
        facts = one["policy"]
        policy = RptPolicy(PolicyType(facts["kind"]), line["domain"], tuple(facts["lines"]), tuple(facts["mx"]))
        if not made.add(policy, None):
            continue
        count = made._domains[policy.domain].counts[policy]  # noqa: SLF001  of this module
        count.good, count.bad = int(one["good"]), int(one["bad"])
        for failure in one["failures"][:FAILURES_MAX]:
            sessions = int(failure.pop("count"))
            count.failures[RptFailure(**{**failure, "result": ResultType(failure["result"])})] = sessions
    for target in line["sent"]:
        made.note_sent(line["domain"], str(target))


def _size(*texts: str) -> int:
    return _COST_BYTES + sum(len(one) + 60 for one in texts)
