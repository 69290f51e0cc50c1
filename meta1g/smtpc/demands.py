"""What TLS has to fulfil in a session with a server: its policy, and the demands of its piece of configuration.

    wanted(policy, ...) --> handshake --> lack(policy, info), then TlsRequirements.unmet(info) --> go on, or violation(...)

Certificates are compared with fingerprints as with TLSA records of usage 3: of the certificate, or of its key.

Pure.  Ref: RFC 7672 3; RFC 6698 2.1; RFC 8689 4.2.1; RFC 3463 3.8 (X.7.4, X.7.5); RFC 5248 (X.7.10, X.7.30).
"""

from typing import Final

from meta1g.base import idn
from meta1g.base.reply import Reply
from meta1g.base.tlsfacts import Tlsa, TlsInfo, TlsWanted
from meta1g.base.tlsneeds import TlsRequirements, Violation
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy

_NOT_OFFERED: Final = "4.7.4"
_FAILED: Final = "4.7.5"
_DANE_EE: Final = 3
#: Matching types by the length of a sum: SHA-256, SHA-512.
_KINDS: Final = {32: 1, 64: 2}


def wanted(policy: TlsPolicy, host: str) -> TlsWanted:
    """Gives what is wanted of a server.

    Args:
        policy: its policy.
        host: its name, empty if it has none.
    """
    server_name = _a_label(policy.server_name or host)
    if policy.level is TlsLevel.FINGERPRINT:
        prints = [bytes.fromhex(one) for one in policy.fingerprints]
        records = (Tlsa(_DANE_EE, selector, _KINDS[len(one)], one) for selector in (0, 1) for one in prints)
        return TlsWanted(server_name, (), tuple(records))
    if policy.level is TlsLevel.DANE:
        return TlsWanted(server_name, tuple(map(_a_label, policy.names)), policy.tlsa)
    names = policy.names if policy.level is TlsLevel.VERIFY else (host,) if host else ()
    return TlsWanted(server_name, tuple(map(_a_label, names)))


def _a_label(name: str) -> str:
    """Gives a name as it stands in certificates; as it is if it has no such form."""
    if name.isascii():
        return name
    try:
        return f".{idn.to_ascii(name[1:])}" if name[0] == "." else idn.to_ascii(name)
    except ValueError:
        return name


def lack(policy: TlsPolicy, info: TlsInfo | None) -> str:
    """Says in plain words what a session lacks that its policy demands; empty if it lacks nothing.

    Args:
        policy: the policy.
        info: what was agreed on; None in clear.
    """
    if not policy.is_demanded:
        return ""
    if info is None:
        return "TLS is required"
    if policy.level is TlsLevel.ENCRYPT:
        return ""
    if policy.level is TlsLevel.FINGERPRINT:
        return "" if info.dane and info.verified else "its certificate has none of the fingerprints"
    if policy.level is TlsLevel.DANE:
        return (
            "" if info.dane and info.verified else f"its certificate fits no TLSA record: {info.reason or 'no record was used'}"
        )
    if not policy.names:
        return "its certificate cannot be verified: no name is right"
    return "" if info.verified else f"its certificate cannot be verified: {info.reason}"


def is_known(policy: TlsPolicy, host: str, info: TlsInfo | None) -> bool:
    """Tells whether it is certain who the server of a session is.

    Args:
        policy: its policy.
        host: its name, empty if it has none: then only what the policy names can be compared.
        info: what was agreed on; None in clear.
    """
    return info is not None and info.verified and bool(wanted(policy, host).names or info.dane)


def refused(where: str, policy: TlsPolicy) -> Reply | None:
    """Gives why no mail may go to a server whatever its TLS is like; None if it may."""
    return Reply(451, "4.7.0", f"{where}: {policy.refused} ({policy.source or policy.level})") if policy.refused else None


def violation(where: str, text: str, policy: TlsPolicy, needs: TlsRequirements | None, *, in_clear: bool) -> Reply:
    """Gives the reply that a session fails with.

    Args:
        where: names the server.
        text: what it lacks.
        policy: its policy.
        needs: the demands of its configuration; they count if the policy demands nothing.
        in_clear: the server did not even offer TLS.
    """
    ecode = _NOT_OFFERED if in_clear else _FAILED
    if policy.is_demanded:
        return Reply(451, ecode, f"{where}: {text}{_by(policy)}")
    return demanded(f"{where}: {text} (tls_requirements)", needs, ecode)


def demanded(text: str, needs: TlsRequirements | None, ecode: str = _FAILED) -> Reply:
    """Gives the reply about demands of the configuration that are not met."""
    reply = Reply(554, f"5{ecode[1:]}", text)
    return reply if needs is not None and needs.violation is Violation.PERMANENT else Reply(451, ecode, text)


def _by(policy: TlsPolicy) -> str:
    return f" ({policy.level}: {policy.source})" if policy.source else f" ({policy.level})"
