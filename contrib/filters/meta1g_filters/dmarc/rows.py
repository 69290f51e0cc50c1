"""What is collected for aggregate reports: a line of JSON for each message, in a file for each UTC day.

    DIRECTORY/2026-11-27.jsonl      one line a message; written by authfilter, read and removed by dmarcrpt
    DIRECTORY/2026-11-27.sent       who has which report of this day already

A line is written in one piece at the end of the file, so threads and processes need no lock.  A day has a greatest size; what
comes when it is full is not counted, and that is logged once a day.

Ref: RFC 7489 7.2, appendix C; RFC 9990 3.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from meta1g.base.clock import rfc3339
from meta1g.base.dataclass import dataclass

_MODE: Final = 0o640
#: Endings of the files of a day.
ROWS_SUFFIX: Final = ".jsonl"
SENT_SUFFIX: Final = ".sent"


@dataclass(frozen=True, slots=True)
class PublishedPolicy:
    """The policy that counted; part of a report."""

    domain: str
    adkim: str
    aspf: str
    p: str
    sp: str
    pct: int
    fo: str


@dataclass(frozen=True, slots=True)
class SignerResult:
    """What one signature came to."""

    domain: str
    selector: str
    result: str


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One message, or several that differ in nothing.

    Args:
        policy: whose policy counted.
        source_ip: address of the client.
        disposition: what was done.
        dkim: pass if a signature passes for the author, else fail.
        spf: the same of SPF.
        reason: why something else was done than the policy wants (a type of RFC 7489 appendix C), empty if not.
        header_from: domain of the author.
        envelope_from: domain of MAIL FROM, empty for a null sender.
        signers: results of signatures.
        spf_domain: whose record was looked at.
        spf_scope: mfrom or helo.
        spf_result: what came out.
    """

    policy: PublishedPolicy
    source_ip: str
    disposition: str
    dkim: str
    spf: str
    reason: str
    header_from: str
    envelope_from: str
    signers: tuple[SignerResult, ...]
    spf_domain: str
    spf_scope: str
    spf_result: str


def line_of(row: ReportRow) -> bytes:
    """Gives the line of a row."""
    return json.dumps(asdict(row)).encode() + b"\n"


def row_from(line: bytes) -> ReportRow:
    """Reads a line.

    Raises:
        ValueError: it is none.
    """
    try:
        facts: dict[str, Any] = json.loads(line)
        policy = PublishedPolicy(**facts.pop("policy"))
        signers = tuple(SignerResult(**one) for one in facts.pop("signers"))
        return ReportRow(policy=policy, signers=signers, **facts)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a row of a report: {error}") from error


def collect(directory: Path, max_day_bytes: int, row: ReportRow, now_s: float) -> str:
    """Adds a row to the file of the day; gives the name of the file if it is full.  Blocks: yes (disk).

    Args:
        directory: of the files; it has to be there.
        max_day_bytes: greatest file.
        row: the row.
        now_s: the time, seconds since the epoch.

    Raises:
        OSError: it cannot be written.
    """
    path = directory / f"{rfc3339(now_s)[:10]}{ROWS_SUFFIX}"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        if os.fstat(fd).st_size >= max_day_bytes:
            return str(path)
        os.write(fd, line_of(row))
        return ""
    finally:
        os.close(fd)
