"""What a SASL exchange wants of whoever carries it, and how it ends.

An exchange is a generator.  It yields what it needs and is sent the answer; its return value is who the client is.

    server   Challenge -> the client's response        CheckPassword -> bool        FindVerifier -> Found
    client   the response to send -> the server's next challenge

Invariant: an exchange tells nobody which half was wrong: a user that does not exist costs the same steps as a wrong password.

Pure.  Ref: RFC 4422; RFC 4954 (SMTP); MeTA1 design, "Functional Specification: SMTPS, AUTH" (modelled on).
"""

from collections.abc import Generator
from typing import TypeVar

from meta1g.base.dataclass import dataclass

#: Longest name or password, in bytes.
VALUE_MAX_BYTES = 512


class SaslError(Exception):
    """The exchange failed.

    Args:
        reason: for the log; clients hear the same words whatever it is.
        malformed: a message breaks the rules of the mechanism (RFC 4954 4: 501), else the client is not who it says (535).
    """

    def __init__(self, reason: str, *, malformed: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.malformed = malformed


def malformed(reason: str) -> SaslError:
    """Gives the error of a message that breaks the rules of its mechanism."""
    return SaslError(reason, malformed=True)


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server says something and waits for the response."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CheckPassword:
    """Whether this is the password of a user; the answer is a bool."""

    authcid: str
    password: str


@dataclass(frozen=True, slots=True)
class Verifier:
    """What is stored of a password for SCRAM (RFC 5802 3).

    Args:
        salt: of the password, at least 1 byte.
        iterations: of the hash, at least 1.
        stored_key: hash of the key that the client proves to have.
        server_key: what the server proves itself with.
    """

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


@dataclass(frozen=True, slots=True)
class FindVerifier:
    """What is stored of a user for a hash; the answer is Found."""

    authcid: str
    hash_name: str


@dataclass(frozen=True, slots=True)
class Found:
    """The verifier of a user; of one that has none one that no password has, always the same one for its name.

    Args:
        verifier: what the exchange goes on with.
        known: it is that of a user.
    """

    verifier: Verifier
    known: bool


@dataclass(frozen=True, slots=True)
class SaslIdentity:
    """Who the client is.

    Args:
        authcid: whose password, key or certificate it has.
        authzid: whom it wants to act as; the same unless it asked for another, which is for the caller to allow.
    """

    authcid: str
    authzid: str


Need = Challenge | CheckPassword | FindVerifier
SaslAnswer = bytes | bool | Found | None
ServerExchange = Generator[Need, SaslAnswer, SaslIdentity]
#: Yields responses, is sent challenges; it has returned when the client has nothing more to say.
ClientExchange = Generator[bytes, bytes, None]

_T = TypeVar("_T")


def of_kind(answer: SaslAnswer, kind: type[_T]) -> _T:
    """Gives an answer of the kind that was asked for.

    Raises:
        TypeError: it is of another; whoever carries the exchange is wrong.
    """
    if not isinstance(answer, kind):
        raise TypeError(f"{kind.__name__} was asked for, not {type(answer).__name__}")
    return answer


def text_of(data: bytes, what: str) -> str:
    """Gives the text of a message.

    Raises:
        SaslError: it is no UTF-8, has a NUL, or is too long.
    """
    if len(data) > VALUE_MAX_BYTES:
        raise malformed(f"{what} is longer than {VALUE_MAX_BYTES} bytes")
    if b"\0" in data:
        raise malformed(f"{what} has a NUL")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise malformed(f"{what} is no UTF-8") from None
