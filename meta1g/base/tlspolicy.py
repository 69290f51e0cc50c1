"""What TLS has to fulfil at one server, and who says so: SMAR finds it out, QMGR carries it, SMTPC obeys it.

    level         handshake fails          certificate
    none          no STARTTLS              -
    may           goes on in clear         is not looked at
    encrypt       another server, later    is not looked at
    dane          another server, later    fits one of the TLSA records
    verify        another server, later    of a trusted authority, with one of the names
    fingerprint   another server, later    has one of the fingerprints, or its key has

A policy travels as text.  That of the demands names no source, so that sessions are shared by all who demand the same.

Pure.
Ref: RFC 3207; RFC 7435 (opportunistic); RFC 7672 (DANE); Postfix, smtp_tls_policy_maps (levels and their order modelled on).
"""

import binascii
import json
from enum import StrEnum
from typing import Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, PermError
from meta1g.base.tlsfacts import Tlsa

_PLAIN: Final = ("tls13", "ciphers", "server_name", "fixed", "refused")


class TlsLevel(StrEnum):
    """How much is demanded, least first."""

    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"
    DANE = "dane"
    VERIFY = "verify"
    FINGERPRINT = "fingerprint"


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What TLS has to fulfil at one server.

    Args:
        level: how much is demanded.
        names: for `verify`: one of them has to stand in the certificate; one with a leading dot stands for all hosts below it.
        fingerprints: for `fingerprint`: SHA-256 or SHA-512 of a certificate or of its public key, hexadecimal, lower case.
        tlsa: for `dane`: usable records.
        tls13: nothing older than TLS 1.3 will do.
        ciphers: OpenSSL's list for TLS 1.2; empty for that of section tls.
        server_name: is sent to the server (RFC 6066 3); empty for its own name.
        fixed: the configuration demands it: no message may ask for less (RFC 8689 3).
        refused: why no mail may go to this server now, whatever TLS is like; empty if it may.
        source: who says so, for people; it makes no difference to sessions.
    """

    level: TlsLevel = TlsLevel.MAY
    names: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    tlsa: tuple[Tlsa, ...] = ()
    tls13: bool = False
    ciphers: str = ""
    server_name: str = ""
    fixed: bool = False
    refused: str = ""
    source: str = ""

    @property
    def is_demanded(self) -> bool:
        """Whether nothing may go in clear."""
        return self.level not in (TlsLevel.NONE, TlsLevel.MAY)

    def demands(self) -> str:
        """Gives all but the source as text, always the same for the same demands; empty for the default policy."""
        found: dict[str, Any] = {} if self.level is TlsLevel.MAY else {"level": self.level.value}
        for name in ("names", "fingerprints"):
            if getattr(self, name):
                found[name] = sorted(getattr(self, name))
        if self.tlsa:
            found["tlsa"] = sorted([one.usage, one.selector, one.kind, one.data.hex()] for one in self.tlsa)
        found |= {name: getattr(self, name) for name in _PLAIN if getattr(self, name)}
        return json.dumps(found, separators=(",", ":")) if found else ""


#: What holds where nobody says anything.
OPPORTUNISTIC: Final = TlsPolicy()


def policy_of(demands: str, source: str = "") -> TlsPolicy:
    """Reads what TlsPolicy.demands() gave.

    Args:
        demands: the text, empty for the default policy.
        source: who says so.

    Raises:
        PermError: it is no policy.
    """
    if not demands:
        return TlsPolicy(source=source)
    try:
        found = json.loads(demands)
        return TlsPolicy(
            level=TlsLevel(found.get("level", TlsLevel.MAY)),
            names=tuple(found.get("names", ())),
            fingerprints=tuple(found.get("fingerprints", ())),
            tlsa=tuple(Tlsa(u, s, k, binascii.unhexlify(data)) for u, s, k, data in found.get("tlsa", ())),
            tls13=bool(found.get("tls13", False)),
            ciphers=str(found.get("ciphers", "")),
            server_name=str(found.get("server_name", "")),
            fixed=bool(found.get("fixed", False)),
            refused=str(found.get("refused", "")),
            source=source,
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise PermError(Module.RCB, f"no TLS policy: {demands[:80]!r}") from error
