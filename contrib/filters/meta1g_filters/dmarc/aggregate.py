"""An aggregate report: the rows of a day for one policy, as XML and as a message.

Pure.  Ref: RFC 7489 7.2.1.1 (names, subject), appendix C (schema); RFC 8689 5 (TLS-Required).
"""

import gzip
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from hashlib import sha256
from typing import Final
from xml.sax.saxutils import escape

from meta1g.base.dataclass import dataclass
from meta1g_filters.dmarc.rows import PublishedPolicy, ReportRow

_DAY_S: Final = 86_400
#: Ref: NAME_MAX of Linux.
_FILE_NAME_MAX_CHARS: Final = 255
_TEXT: Final = (
    "This is an aggregate report of DMARC about mail with {domain} in From that came to {org} on {day} (UTC).\n"
    "It was asked for by the record _dmarc.{domain}.\n"
)


@dataclass(frozen=True, slots=True)
class AggregateReport:
    """The report of one UTC day about one policy.

    Args:
        policy: the policy.
        day: `YYYY-MM-DD`.
        counts: how many messages each row stands for.
        org_name: who reports.
        email: contact, and sender of the message.
        submitter: domain of the reporter.
    """

    policy: PublishedPolicy
    day: str
    counts: Mapping[ReportRow, int]
    org_name: str
    email: str
    submitter: str

    @property
    def begin_s(self) -> int:
        """When the day begins, seconds since the epoch."""
        return int(datetime.fromisoformat(f"{self.day}T00:00:00+00:00").timestamp())

    @property
    def report_id(self) -> str:
        """The same each time that it is made; another one if the policy of the day changed."""
        mark = sha256(repr(self.policy).encode()).hexdigest()[:8]
        return f"{self.day}.{mark}.{self.policy.domain}@{self.submitter}"

    @property
    def file_name(self) -> str:
        """Name of the file (RFC 7489 7.2.1.1); of long domains as much as a file system takes."""
        mark = sha256(repr(self.policy).encode()).hexdigest()[:8]
        rest = f"!{self.begin_s}!{self.begin_s + _DAY_S - 1}!{mark}.xml.gz"
        return f"{self.submitter}!{self.policy.domain}"[: _FILE_NAME_MAX_CHARS - len(rest)] + rest

    def xml(self) -> str:
        """Gives the report as RFC 7489 appendix C has it."""
        metadata = {"org_name": self.org_name, "email": self.email, "report_id": self.report_id}
        dates = _element("date_range", _elements({"begin": self.begin_s, "end": self.begin_s + _DAY_S - 1}))
        policy = self.policy
        published: dict[str, object] = {
            "domain": policy.domain,
            "adkim": policy.adkim,
            "aspf": policy.aspf,
            "p": policy.p,
            "sp": policy.sp,
        }
        published |= {"pct": policy.pct, "fo": policy.fo}
        records = "".join(_record(row, count) for row, count in self.counts.items())
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<feedback>\n<version>1.0</version>\n'
            + _element("report_metadata", _elements(metadata) + dates)
            + _element("policy_published", _elements(published))
            + f"{records}</feedback>\n"
        )

    def packed(self) -> bytes:
        """Gives it as application/gzip."""
        return gzip.compress(self.xml().encode(), mtime=0)

    def message(self, to: str, now_s: float) -> bytes:
        """Gives the message.

        Args:
            to: who gets it.
            now_s: the time, seconds since the epoch.
        """
        message = EmailMessage(policy=SMTP.clone(max_line_length=998))
        message["From"] = self.email
        message["To"] = to
        message["Date"] = formatdate(now_s)
        message["Message-ID"] = f"<{self.report_id}>"
        message["Subject"] = f"Report Domain: {self.policy.domain} Submitter: {self.submitter} Report-ID: <{self.report_id}>"
        message["TLS-Required"] = "No"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(_TEXT.format(domain=self.policy.domain, org=self.org_name, day=self.day))
        message.add_attachment(self.packed(), maintype="application", subtype="gzip", filename=self.file_name)
        return message.as_bytes()


def _record(row: ReportRow, count: int) -> str:
    evaluated = _elements({"disposition": row.disposition, "dkim": row.dkim, "spf": row.spf})
    if row.reason:
        evaluated += _element("reason", _elements({"type": row.reason}))
    inside = _element("row", _elements({"source_ip": row.source_ip, "count": count}) + _element("policy_evaluated", evaluated))
    inside += _element("identifiers", _elements({"envelope_from": row.envelope_from, "header_from": row.header_from}))
    results = "".join(
        _element("dkim", _elements({"domain": one.domain, "selector": one.selector, "result": one.result}))
        for one in row.signers
    )
    spf = _elements({"domain": row.spf_domain, "scope": row.spf_scope, "result": row.spf_result})
    return _element("record", inside + _element("auth_results", results + _element("spf", spf)))


def _elements(values: Mapping[str, object]) -> str:
    return "".join(f"<{name}>{_plain(str(value))}</{name}>\n" for name, value in values.items())


def _element(name: str, inside: str) -> str:
    return f"<{name}>\n{inside}</{name}>\n"


def _plain(text: str) -> str:
    """Gives a text as XML can have it: no controls, no lone surrogates."""
    return escape("".join(char if char.isprintable() else "?" for char in text))
