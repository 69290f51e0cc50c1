"""What a TLS context is made from, what a client wants of a connection, and what was agreed on.

Pure but for TlsSettings.signature().
Ref: RFC 8446, RFC 5246, RFC 7672; RFC 9325 (ciphers and versions); MeTA1 design, "Functional Specification: SMTPS, STARTTLS"
(modelled on).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.signature import Signature, signature

#: Length of the secret of session tickets: name, key for the digest, key for the cipher.
TICKET_KEYS_BYTES: Final = 80
#: RFC 9325 4.2: forward secrecy and authenticated encryption: what a server offers.
SERVER_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL"
#: RFC 9325 4.2: forward secrecy and authenticated encryption; the rest for servers that have nothing better.
CIPHERS: Final = (
    "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:RSA+AES:!aNULL:!eNULL:!MD5:!DSS:!PSK:!SRP"
)

TlsFiles = tuple[Signature | None, ...]

_DAY_S: Final = 86400
#: So long before a certificate ends it is warned of.
_WARN_S: Final = 30 * _DAY_S


def ending(left_s: int | None) -> str:
    """Warns of a certificate; empty if that is not needed.

    Args:
        left_s: seconds until it ends, negative if it has; None if that is not known.
    """
    if left_s is None or left_s > _WARN_S:
        return ""
    return f"the certificate ends in {left_s // _DAY_S} days" if left_s >= 0 else "the certificate has ended"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its chain, and its key; both PEM."""

    cert_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class ServerNamesFile:
    """Certificates by server name (SNI).

    Args:
        path: the file.
        kind: `hash`, `btree` or `text`.
        directory: what files in it are relative to.
    """

    path: Path
    kind: str
    directory: Path


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What a context is made from.

    Args:
        pairs: our certificates, at most one for each kind of key; a server needs one.
        ca_file: certificates that are trusted, PEM; None for none.
        ca_directory: directory with such certificates, named by their hashes.
        crl_file: revoked certificates, PEM; each certificate of a chain is looked for in them.
        dh_file: Diffie-Hellman parameters of a server, PEM; None for those of OpenSSL that suit the key.
        system_ca: the system's trusted certificates count too.
        tls13_only: nothing older than TLS 1.3; else TLS 1.2 and newer.
        ciphers: OpenSSL's list for TLS 1.2.
        request_cert: a server asks clients for a certificate; it takes one that cannot be verified, or none.
        ticket_keys: keys that several processes share, TICKET_KEYS_BYTES, then perhaps those from before, whose tickets are
            taken, too; empty for those of OpenSSL.
        ticket_secret_file: what such keys are made of by the user of a context; None for nothing.
        names: certificates for server names, which the user of a context chooses by; None without any.
    """

    pairs: tuple[KeyPair, ...] = ()
    ca_file: Path | None = None
    ca_directory: Path | None = None
    crl_file: Path | None = None
    dh_file: Path | None = None
    system_ca: bool = False
    tls13_only: bool = False
    ciphers: str = CIPHERS
    request_cert: bool = False
    ticket_keys: bytes = b""
    ticket_secret_file: Path | None = None
    names: ServerNamesFile | None = None

    def parts(self) -> "Iterator[TlsSettings]":
        """Gives settings with one thing each that may be wrong, so that a check finds all that is."""
        plain = TlsSettings()
        yield replace(plain, ciphers=self.ciphers)
        yield from (replace(plain, pairs=(pair,)) for pair in self.pairs)
        for name in ("ca_file", "ca_directory", "crl_file", "dh_file"):
            if getattr(self, name) is not None:
                yield replace(plain, **{name: getattr(self, name)})

    def signature(self) -> TlsFiles:
        """Gives what changes with the content of a file, for all of them.  Blocks: no (one system call each)."""
        files = [path for pair in self.pairs for path in (pair.cert_file, pair.key_file)]
        files += [path for path in (self.ca_file, self.ca_directory, self.crl_file, self.dh_file) if path is not None]
        files += [self.ticket_secret_file] if self.ticket_secret_file is not None else []
        return tuple(map(signature, files))


@dataclass(frozen=True, slots=True)
class Tlsa:
    """A TLSA record (RFC 6698 2.1): usage, selector, matching type, data."""

    usage: int
    selector: int
    kind: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """What a client wants of a connection.

    Args:
        server_name: is sent to the server (RFC 6066 3); empty for none.
        names: one of them has to stand in its certificate for it to count as verified; empty if any name will do.
        tlsa: records of the server, from a resolver that validates; usages other than 2 and 3 are not used (RFC 7672 3.1.3).
    """

    server_name: str = ""
    names: tuple[str, ...] = ()
    tlsa: tuple[Tlsa, ...] = ()


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What was agreed on.

    Args:
        version: `TLSv1.3` or older.
        cipher: OpenSSL's name of the cipher suite.
        suite: its registered name; empty if it is not known.
        bits: strength of its key that is used.
        algorithm_bits: strength of its algorithm.
        peer_cert: the peer's certificate, DER; None if it has none.
        subject: its distinguished name (RFC 4514); empty if there is none, or it is not told.
        issuer: that of its issuer.
        common_name: CN of the subject.
        issuer_common_name: CN of the issuer.
        verified: the certificate was checked against trusted ones, or TLSA records, and its name if one was wanted.
        reason: why it is not verified; empty if it is.
        dane: it was checked against TLSA records.
        resumed: an earlier session goes on.
        server_name: what the client asked for; empty for nothing.
    """

    version: str
    cipher: str
    suite: str
    bits: int
    algorithm_bits: int
    peer_cert: bytes | None
    subject: str = ""
    issuer: str = ""
    common_name: str = ""
    issuer_common_name: str = ""
    verified: bool = False
    reason: str = "no certificate"
    dane: bool = False
    resumed: bool = False
    server_name: str = ""

    def logged(self) -> dict[str, str | int | None]:
        """Gives the keys of a log line about it."""
        return {
            "tls": f"{self.version} {self.cipher}",
            "bits": self.bits,
            "verify": "ok" if self.verified else self.reason,
            "cert_subject": self.subject or None,
            "cert_issuer": self.issuer or None,
        }

    def without_peer(self) -> "TlsInfo":
        """Gives it without the peer's certificate: the connection is the same, but somebody else is spoken for."""
        return TlsInfo(self.version, self.cipher, self.suite, self.bits, self.algorithm_bits, None, resumed=self.resumed)

    @property
    def clause(self) -> str:
        """Clause of the Received field (RFC 8314 4.3), with what else is known in a comment."""
        cert = (
            "no client certificate"
            if self.peer_cert is None
            else f"client certificate {'' if self.verified else 'not '}verified"
        )
        return f"tls {self.suite or 'unknown'} ({self.version}, {self.bits} bits, {cert})"
