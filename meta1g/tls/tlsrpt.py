"""TLSRPT: who wants reports about TLS, what is counted, and the report of a day.

    _smtp._tls.example.org  TXT "v=TLSRPTv1; rua=mailto:tlsrpt@example.org,https://report.example.org/v1"

Pure.  Ref: RFC 8460 3 (record), 4.2 to 4.4 (what is counted, the report), 5.1 (names of files).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from meta1g.base.dataclass import dataclass

#: Where the record of a domain stands.  Ref: RFC 8460 3.
RPT_LABELS: Final = "_smtp._tls"
#: Type of a report as it is sent.  Ref: RFC 8460 6.3.
GZIP_TYPE: Final = "application/tlsrpt+gzip"
#: Addresses of one record that get the report.  Our choice: more would only let a domain make us work.
RUA_MAX: Final = 5
_URI_MAX_CHARS: Final = 1000
_ADDRESS_MAX_CHARS: Final = 254
_FIELD: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.\-]{0,31})=([\x20-\x3a\x3c-\x7e]*)")
_HTTPS_PORT: Final = 443


class RptError(ValueError):
    """A record is not what RFC 8460 asks for; the text says what is wrong with it."""


class PolicyType(StrEnum):
    """What a session was held against.  Ref: RFC 8460 4.4."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


class ResultType(StrEnum):
    """What failed.  Ref: RFC 8460 4.3, 6.6."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


@dataclass(frozen=True, slots=True)
class RptTarget:
    """Where a report goes.

    Args:
        address: a mail address, empty for https.
        host: host name in lower case, empty for mail.
        port: its port.
        path: path and query, percent-encoded.
    """

    address: str = ""
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"mailto:{self.address}" if self.address else f"https://{self.host}:{self.port}{self.path}"


def rpt_targets(texts: Iterable[str]) -> tuple[RptTarget, ...]:
    """Finds out who wants the reports of a domain.

    Args:
        texts: the TXT records of `_smtp._tls.DOMAIN`, each with its strings joined.

    Returns:
        At most RUA_MAX; empty if nobody does.

    Raises:
        RptError: there is more than one record of this kind, or it is damaged; nobody gets a report then (RFC 8460 3).
    """
    records = [one for one in texts if re.match(r"v=TLSRPTv1[ \t]*(?:;|$)", one)]
    if not records:
        return ()
    if len(records) > 1:
        raise RptError("there is more than one record with v=TLSRPTv1")
    for text in re.split(r"[ \t]*;[ \t]*", records[0].rstrip(" \t"))[1:]:
        match = _FIELD.fullmatch(text)
        if match is None and text:
            raise RptError("the record has a field that is not key=value")
        if match is not None and match[1] == "rua":
            found = dict.fromkeys(_target(uri.strip(" \t")) for uri in match[2].split(",")[:RUA_MAX])
            return tuple(one for one in found if one is not None)
    raise RptError("the record has no rua")


def _target(uri: str) -> RptTarget | None:
    """Reads a URI; of another scheme it is passed over.

    Raises:
        RptError: it is damaged.
    """
    if len(uri) > _URI_MAX_CHARS or not uri.isascii() or not uri.isprintable() or " " in uri:
        raise RptError("the record has a rua that is no URI")
    scheme, _, rest = uri.partition(":")
    if scheme.lower() == "mailto":
        return RptTarget(address=_address(rest.partition("?")[0]))
    if scheme.lower() != "https":
        return None
    try:
        parts = urlsplit(uri)
        host, port = (parts.hostname or "").lower(), parts.port or _HTTPS_PORT
    except ValueError:
        raise RptError("the record has a rua that is no URI") from None
    if not re.fullmatch(r"[a-z0-9_.\-]*[a-z][a-z0-9_.\-]*\.[a-z0-9\-]+", host) or parts.username is not None:
        raise RptError("the record has a rua without a host name")
    path = parts.path or "/"
    return RptTarget(host=host, port=port, path=f"{path}?{parts.query}" if parts.query else path)


def _address(text: str) -> str:
    address = unquote(text, errors="replace")
    plain = address.isascii() and address.isprintable() and len(address) <= _ADDRESS_MAX_CHARS
    if not plain or not re.fullmatch(r'[^\s@<>"(),:;\[\]\\]+@[A-Za-z0-9.\-]+', address):
        raise RptError("the record has a rua that is no mail address")
    return address


@dataclass(frozen=True, slots=True)
class RptPolicy:
    """What sessions are held against.

    Args:
        kind: which kind of policy.
        domain: whose it is.
        lines: the policy, as RFC 8460 4.4 has it.
        mx: patterns of the names of servers, or the base name of TLSA records.
    """

    kind: PolicyType
    domain: str
    lines: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RptFailure:
    """What failed, and where.

    Args:
        result: what.
        sending_ip: address that we used, empty if it is not known.
        mx_host: name of the server, empty before there is one.
        mx_ip: its address.
        mx_helo: what it called itself.
        reason: in words of the one who found it.
    """

    result: ResultType
    sending_ip: str = ""
    mx_host: str = ""
    mx_ip: str = ""
    mx_helo: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RptCount:
    """What is counted of one policy.

    Args:
        policy: the policy.
        good: sessions that fulfilled it.
        bad: sessions that did not.
        failures: what failed, with how many sessions; those beyond a limit are in `bad` alone.
    """

    policy: RptPolicy
    good: int
    bad: int
    failures: tuple[tuple[RptFailure, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RptSender:
    """Who reports.

    Args:
        organization: its name.
        contact: address of somebody who answers questions.
        submitter: domain that reports come from.
    """

    organization: str
    contact: str
    submitter: str


@dataclass(frozen=True, slots=True)
class DayReport:
    """The report of one UTC day about one domain.

    Args:
        domain: the domain.
        day: `YYYY-MM-DD`.
        sender: who reports.
        counts: what was counted.
    """

    domain: str
    day: str
    sender: RptSender
    counts: Sequence[RptCount]

    @property
    def report_id(self) -> str:
        """The same each time that it is sent."""
        return f"{self.day}T00.00.00Z+{self.domain}@{self.sender.submitter}"

    @property
    def file_name(self) -> str:
        """Name of the file (RFC 8460 5.1)."""
        start = datetime.fromisoformat(f"{self.day}T00:00:00+00:00")
        end = start + timedelta(days=1, seconds=-1)
        return f"{self.sender.submitter}!{self.domain}!{int(start.timestamp())}!{int(end.timestamp())}.json.gz"

    def content(self) -> Mapping[str, Any]:
        """Gives the report as RFC 8460 4.4 has it."""
        return {
            "organization-name": self.sender.organization,
            "date-range": {"start-datetime": f"{self.day}T00:00:00Z", "end-datetime": f"{self.day}T23:59:59Z"},
            "contact-info": self.sender.contact,
            "report-id": self.report_id,
            "policies": [policy_content(one) for one in self.counts],
        }

    def packed(self) -> bytes:
        """Gives it as GZIP_TYPE."""
        import gzip

        return gzip.compress(json.dumps(self.content()).encode(), mtime=0)


def policy_content(count: RptCount) -> dict[str, Any]:
    """Gives one element of `policies` (RFC 8460 4.4)."""
    policy: dict[str, Any] = {"policy-type": count.policy.kind.value}
    if count.policy.lines:
        policy["policy-string"] = list(count.policy.lines)
    policy["policy-domain"] = count.policy.domain
    if count.policy.mx:
        policy["mx-host"] = list(count.policy.mx)
    found: dict[str, Any] = {
        "policy": policy,
        "summary": {"total-successful-session-count": count.good, "total-failure-session-count": count.bad},
    }
    if count.failures:
        found["failure-details"] = [_failure(failure, sessions) for failure, sessions in count.failures]
    return found


_DETAILS: Final = (
    ("sending-mta-ip", "sending_ip"),
    ("receiving-mx-hostname", "mx_host"),
    ("receiving-mx-helo", "mx_helo"),
    ("receiving-ip", "mx_ip"),
    ("failure-reason-code", "reason"),
)


def _failure(failure: RptFailure, sessions: int) -> dict[str, Any]:
    details = {name: getattr(failure, attribute) for name, attribute in _DETAILS if getattr(failure, attribute)}
    return {"result-type": failure.result.value, **details, "failed-session-count": sessions}


def day_of(when_s: float) -> str:
    """Gives the UTC day of a time, `YYYY-MM-DD`.

    Args:
        when_s: seconds since the epoch.
    """
    return datetime.fromtimestamp(when_s, UTC).strftime("%Y-%m-%d")
