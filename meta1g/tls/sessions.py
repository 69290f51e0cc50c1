"""What one session with a server means for a report: fine, or what failed.

    policy of the domain      fails if
    none                      there is no TLS
    MTA-STS, any mode         there is no TLS, the certificate is not verified, or the policy does not name the server
    DANE                      SMTPC says so

Pure.  Ref: RFC 8460 4.3 (kinds of failures), 4.4; RFC 8461 5 (mode testing is reported as enforce is).
"""

from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.tls.mtasts import StsMode, StsPolicy
from meta1g.tls.tlsrpt import PolicyType, ResultType, RptFailure, RptPolicy

_REASON_MAX_CHARS: Final = 200
#: Stands in the reasons of SMAR and SMTPC that are about DANE.
_TLSA: Final = "TLSA record"
#: Words of OpenSSL, and what they mean.  Ref: RFC 8460 4.3.1.
_REASONS: Final = (
    ("no answer about its TLSA records", ResultType.DNSSEC_INVALID),
    ("its TLSA records have more than", ResultType.TLSA_INVALID),
    ("mismatch", ResultType.CERTIFICATE_HOST_MISMATCH),
    ("no name is right", ResultType.CERTIFICATE_HOST_MISMATCH),
    ("expired", ResultType.CERTIFICATE_EXPIRED),
    ("self-signed", ResultType.CERTIFICATE_NOT_TRUSTED),
    ("self signed", ResultType.CERTIFICATE_NOT_TRUSTED),
    ("unable to get", ResultType.CERTIFICATE_NOT_TRUSTED),
    ("not trusted", ResultType.CERTIFICATE_NOT_TRUSTED),
    ("revoked", ResultType.CERTIFICATE_NOT_TRUSTED),
)


@dataclass(frozen=True, slots=True)
class TlsSeen:
    """What SMTPC saw of a session.

    Args:
        domain: domain of the recipient that it was opened for, lower case.
        host: name of the server.
        address: its address.
        source: the address that we used, empty if it is not known.
        offered: the server offered STARTTLS.
        secured: the session is under TLS, as it has to be.
        verified: the certificate is verified and has the name of the server.
        reason: why it is not, or why there is no TLS.
        tlsa: the records that it was held against, as text; empty without DANE.
    """

    domain: str
    host: str
    address: str
    source: str
    offered: bool
    secured: bool
    verified: bool
    reason: str
    tlsa: tuple[str, ...] = ()


def held_against(seen: TlsSeen, policy: StsPolicy | None, failed: ResultType | None) -> RptPolicy:
    """Gives what a session is held against.

    Args:
        seen: the session.
        policy: the MTA-STS policy of its domain, None without one.
        failed: why there is none although there should be.
    """
    if seen.tlsa or _TLSA in seen.reason:
        return RptPolicy(PolicyType.TLSA, seen.domain, seen.tlsa, (seen.host,))
    if policy is not None and policy.mode is not StsMode.NONE:
        return RptPolicy(PolicyType.STS, seen.domain, policy.lines(), policy.mx)
    return RptPolicy(PolicyType.STS if failed is not None else PolicyType.NONE, seen.domain)


def judged(seen: TlsSeen, policy: StsPolicy | None, failed: ResultType | None, why: str) -> RptFailure | None:
    """Tells what failed; None if all is fine.

    Args:
        seen: the session.
        policy: the MTA-STS policy of its domain, None without one.
        failed: why there is none, or no newer one, although there should be.
        why: the same in words.
    """
    kind = held_against(seen, policy, failed).kind
    result, reason = _result(seen, policy, kind)
    if result is None and kind is PolicyType.STS and failed is not None:
        result, reason = failed, why
    if result is None:
        return None
    shown = "".join(one if one.isprintable() else "?" for one in reason)[:_REASON_MAX_CHARS]
    return RptFailure(result, seen.source, seen.host, seen.address, reason=shown)


def _result(seen: TlsSeen, policy: StsPolicy | None, kind: PolicyType) -> tuple[ResultType | None, str]:
    if kind is PolicyType.STS and policy is not None and not policy.allows(seen.host):
        return ResultType.VALIDATION_FAILURE, "the policy does not name the server"
    if not seen.offered:
        return ResultType.STARTTLS_NOT_SUPPORTED, ""
    if seen.secured and (seen.verified or policy is None or kind is not PolicyType.STS):
        return None, ""
    return next((result for word, result in _REASONS if word in seen.reason), ResultType.VALIDATION_FAILURE), seen.reason
