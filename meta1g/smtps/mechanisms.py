"""The SASL mechanisms of the server: a table, and which of them a session is offered.

    PLAIN LOGIN EXTERNAL CRAM-MD5      under TLS only (PLAIN and LOGIN in clear if the configuration says so)
    SCRAM-SHA-256-PLUS                 where the connection has a channel binding: TLS 1.3 (RFC 9266)
    SCRAM-SHA-256 SCRAM-SHA-1          everywhere

Pure.  Ref: RFC 4954 3, 4; RFC 5802 6.
"""

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Final

from meta1g.base.dataclass import dataclass


class Way(Enum):
    """How a mechanism finds out who the client is."""

    PASSWORD = auto()  # it sends its password
    SCRAM = auto()
    CERTIFICATE = auto()
    RELAYED = auto()  # only the back end knows how


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One mechanism.

    Args:
        name: as in EHLO.
        way: how it works.
        needs_tls: it is not offered in clear.
        stored: kind of what is stored of a password for it, for SCRAM.
        plus: it binds the connection.
        server_first: the client cannot say anything with AUTH.
    """

    name: str
    way: Way
    needs_tls: bool = False
    stored: str = ""
    plus: bool = False
    server_first: bool = False


_ROWS: Final = (
    Mechanism("SCRAM-SHA-256-PLUS", Way.SCRAM, needs_tls=True, stored="SCRAM-SHA-256", plus=True),
    Mechanism("SCRAM-SHA-256", Way.SCRAM, stored="SCRAM-SHA-256"),
    Mechanism("SCRAM-SHA-1", Way.SCRAM, stored="SCRAM-SHA-1"),
    Mechanism("EXTERNAL", Way.CERTIFICATE, needs_tls=True),
    Mechanism("CRAM-MD5", Way.RELAYED, needs_tls=True, server_first=True),
    Mechanism("PLAIN", Way.PASSWORD, needs_tls=True),
    Mechanism("LOGIN", Way.PASSWORD, needs_tls=True),
)
#: All of them, preferred first.
MECHANISMS: Final[Mapping[str, Mechanism]] = {row.name: row for row in _ROWS}
#: What every back end can do.
PASSWORDS: Final = ("PLAIN", "LOGIN")


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What a mechanism depends on.

    Args:
        tls: the session is encrypted.
        binding: its channel binding, None if it has none.
        certificate: name in a certificate of the client that was verified, empty without one.
    """

    tls: bool
    binding: bytes | None = None
    certificate: str = ""


def usable(row: Mechanism, facts: SessionFacts, *, plaintext: bool) -> bool:
    """Tells whether a session can use a mechanism.

    Args:
        row: the mechanism.
        facts: of the session.
        plaintext: passwords may go in clear.
    """
    if row.needs_tls and not facts.tls and not (plaintext and row.way is Way.PASSWORD):
        return False
    if row.plus and facts.binding is None:
        return False
    return row.way is not Way.CERTIFICATE or bool(facts.certificate)


def offered(names: Iterable[str], facts: SessionFacts, *, plaintext: bool) -> list[str]:
    """Gives the mechanisms that a session is offered, in the order of the table.

    Args:
        names: what the configuration and the back end allow.
        facts: of the session.
        plaintext: passwords may go in clear.
    """
    chosen = frozenset(names)
    return [row.name for row in _ROWS if row.name in chosen and usable(row, facts, plaintext=plaintext)]
